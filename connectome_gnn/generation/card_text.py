"""A model's card in words: card.md beside the model, for whoever is handed the folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["card_text"]

WEAK = 0.02
MOST_PHENOTYPES = 60
MOST_PATHS = 12


def card_text(card: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    parts = [_title(card), _people(card), _phenotypes(card), _fit(card), _scores(card), _earned(card), _samples(card), _limits(card)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _title(card: Mapping[str, Any]) -> Iterator[str]:
    atlas = card["atlas"]
    yield f"# A generator of connectomes, fitted to {card['cohort']}"
    yield ""
    yield (
        f"It takes a person's phenotypes and gives whole-brain connectomes: {card['measure']} between {atlas['regions']} regions"
        + (f" of {atlas['name']}" if atlas["name"] else "")
        + f" ({atlas['edges']:,} edges). `expected` is the average connectome of people with a profile; `sample` draws individual people."
    )
    yield ""
    yield f"**In short:** {_verdict(card)}{_held_out_verdict(card)}"


def _verdict(card: Mapping[str, Any]) -> str:
    score = card["score"]
    r2, low = score["r2"], score.get("low")
    told = f"Phenotypes tell {100 * r2:.1f} % of what makes people's connectomes differ"
    if "privacy" in card:
        return (
            f"{told}, by a noisy estimate from the model's own privacy budget, which is no test on people left out. The model keeps "
            f"differential privacy (epsilon {card['privacy']['epsilon']:g})."
        )
    if low is None:
        return f"{told} (estimate on people left out, without an interval)."
    interval = f"(R2 beyond the mean {_number(r2)}, 95 % interval {_number(low)} to {_number(score['high'])}, people left out in turns)"
    if low <= 0:
        return (
            "What phenotypes tell of a person's connectome cannot be told from nothing here "
            f"{interval}: take expected connectomes for the group's average."
        )
    if r2 < WEAK:
        return f"{told} {interval}. That is little: an expected connectome is close to the group's average, whoever the profile is of."
    return f"{told} {interval}; the rest, by far the most, they do not tell."


def _held_out_verdict(card: Mapping[str, Any]) -> str:
    """That a fit to part of the people was no better than their average on the others, where it was not."""
    ours = next((row for row in (card["held_out"] or {"models": []})["models"] if row["difference"] is None), None)
    if ours is None or ours["r2_low"] is None or ours["r2_low"] > 0:
        return ""
    return (
        f" On {card['held_out']['n_test']:,} people held out it was {_interval(ours['r2'], ours['r2_low'], ours['r2_high'])}, "
        "which is not clearly better than the average for everybody."
    )


def _people(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## People"
    yield ""
    yield f"{card['people']:,} {'people or families' if 'privacy' in card else 'people'} of the cohort {card['cohort']}."
    for record in card["phenotypes"]:
        if record["name"] in card["age_and_sex"]:
            yield f"{record['name'][:1].upper()}{record['name'][1:]}: {_values(record)}."
    if "transfer" in card:
        moved = card["transfer"]
        yield ""
        yield (
            f"It started from a model of {moved['source_people']:,} people of {moved['source']}"
            + (f", which keeps differential privacy (epsilon {moved['source_epsilon']:g})" if moved["source_epsilon"] else "")
            + ". "
            + _sentence(moved["helped"])
        )


def _phenotypes(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## Phenotypes"
    yield ""
    if "privacy" in card:
        yield "Ranges and levels are those that were publicly known; means and shares carry the noise of differential privacy."
    else:
        yield (
            "Numbers by their median and the range of the middle 90 % of people, rounded; levels by rounded shares, those of fewer than 5 "
            "people left out."
        )
    yield ""
    yield "| phenotype | group | kind | people | missing |"
    yield "|---|---|---|---|---|"
    for record in card["phenotypes"][:MOST_PHENOTYPES]:
        cells = (record["name"], record["group"], record["kind"], _values(record), _percent(record["missing"]))
        yield f"| {' | '.join(map(_cell, cells))} |"
    more = len(card["phenotypes"]) - MOST_PHENOTYPES
    if more > 0:
        yield ""
        yield f"and {more} more, which stand in `config.json` under `card`."
    if "nuisance" in card:
        yield ""
        at = " Scores of people held out are at everybody's own values of them." if card.get("held_out") else ""
        yield _nuisance(card["nuisance"]) + at


def _nuisance(nuisance: Mapping[str, Any]) -> str:
    """What generation does with nuisances, in a sentence."""
    values = nuisance["set_to"]
    said = "Nuisances, which shaped the fit and which generation does not ask for"
    if nuisance["by"] == "average":
        return f"{said}: {', '.join(values)}; averaged over as they were in the people above."
    told = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
    return f"{said}, set to: {told}."


def _values(record: Mapping[str, Any]) -> str:
    units = f" {record['units']}" if record.get("units") else ""
    if "range" in record:
        span = record["range"]
        if "median" in span:
            return f"{span['median']:g}{units} (90 % from {span['5 %']:g} to {span['95 %']:g})"
        return f"{span['public lowest']:g} to {span['public highest']:g}{units}, about {span['about (noisy mean)']:g}"
    shares = ", ".join(f"{level} {_percent(share)}" for level, share in record.get("shares", {}).items())
    rare = record.get("rare_levels", 0)
    few = f"{rare} level{'s' if rare > 1 else ''} of fewer than 5 people" if rare else ""
    return "; ".join(part for part in (shares, few) if part) or "n/a"


def _fit(card: Mapping[str, Any]) -> Iterator[str]:
    fit = card["fit"]
    yield "## How it was fitted"
    yield ""
    if "privacy" in card:
        privacy = card["privacy"]
        yield (
            f"Under differential privacy: epsilon {privacy['epsilon']:g}, delta {privacy['delta']:.1e}, for {privacy['neighbours']}. Every "
            "number of the model comes from bounded sums over people with noise; `config.json` has the account under `privacy`."
        )
        if "known seed" in privacy.get("noise", ""):
            yield "**Its noise comes from a known seed, so it is not private.**"
    else:
        yield (
            f"Ridge regressions of {fit['components']} patterns of edges on the phenotypes, "
            + ("with messages between regions as a prior on effects, " if fit["messages"] else "without messages between regions, ")
            + "weighed on people left out"
            + ("; a message-passing network may add to them." if fit["network"] else ".")
            + f" Seed {fit['seed']}."
        )
    if "transfer" in card:
        moved = card["transfer"]
        yield ""
        yield f"Phenotypes known to the source too: {_names(moved['shared'])}. Only to the source: {_names(moved['only_in_source'])}. " + (
            f"Only here: {_names(moved['only_here'])}. The source's expectations count {_number(moved['gain'], 2)} times, and "
            f"{_percent(moved['residual_share'])} of how edges go together around the mean is the source's."
        )


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores"
    yield ""
    yield (
        "R2 beyond the mean: the share of people's squared distance from the average connectome that their phenotypes take away. 0 is the "
        "average for everybody; 1 is out of reach, since most differences between people have nothing to do with phenotypes."
    )
    yield ""
    score = card["score"]
    how = "noisy estimate within the privacy budget" if "privacy" in card else "training people, each left out in turn"
    yield "| model | R2 beyond the mean | on |"
    yield "|---|---|---|"
    yield f"| this model | {_interval(score['r2'], score.get('low'), score.get('high'))} | {how} |"
    if "transfer" in card:
        for row in card["transfer"]["comparison"]:
            yield f"| {row['mean']} | {_interval(row['r2'], row['low'], row['high'])} | the same people, closed forms alone |"
        yield ""
        yield (
            "Intervals are over these people, each fit and the source as they are: that other people of the source's cohort would give "
            "another source is not in them."
        )
    held = card["held_out"]
    yield ""
    if held is None:
        yield "No held-out comparison was made before it was saved (`fit --compare` makes one, and writes it here)."
        return
    yield (
        f"With the same settings, fitted to {held['n_train']:,} of the people and scored on the other {held['n_test']:,}, whom it had not "
        "seen (this model was fitted to everybody afterwards):"
    )
    yield ""
    several = len(held["models"]) > 1
    yield "| model | R2 beyond the mean | r after the mean is taken away |" + (" the generator's R2 less this one's |" if several else "")
    yield "|---|---|---|" + ("---|" if several else "")
    for row in held["models"]:
        difference = _interval(row["difference"], row["difference_low"], row["difference_high"]) if row["difference"] is not None else ""
        yield (
            f"| {row['model']} | {_interval(row['r2'], row['r2_low'], row['r2_high'])} | {_number(row['demeaned_r'], 3)} |"
            + (f" {difference} |" if several else "")
        )
    for name, why in held["unfitted"].items():
        yield f"\n{name} took no part: {why}."


def _earned(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## What each path earned"
    yield ""
    yield "Each path's R2 by itself on people left out, and its weight in the answer; what earns nothing weighs nothing."
    yield ""
    yield "| path | R2 alone | weight |"
    yield "|---|---|---|"
    rows = card["earned"]
    used = [row for row in rows if row["weight"] > 0 or row["path"] in ("all together", "message-passing network")]
    last = [row for row in used if row["path"] in ("all together", "message-passing network")]
    first = sorted((row for row in used if row not in last), key=lambda row: -row["weight"])
    for row in [*first[: MOST_PATHS - len(last)], *last]:
        yield f"| {row['path']} | {_number(row['r2'])} | {_number(row['weight'], 2)} |"
    if len(first) > MOST_PATHS - len(last):
        yield f"\n{len(first) - MOST_PATHS + len(last)} more paths weigh less than these."
    if len(used) < len(rows):
        yield f"\n{len(rows) - len(used)} more paths were tried and weigh nothing."
    if card["fit"]["network"]:
        gate = card["network_gate"]
        opened = f"opened: {_percent(gate)} of what it says is used on average" if gate > 0 else "stayed shut"
        yield f"\nThe message-passing network's gate {opened}."


def _samples(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## Samples, and whose data the model holds"
    yield ""
    how = {
        "Gaussian copula": "from a low-rank Gaussian copula with each edge's own distribution, zeros included",
        "Gaussian copula, regions": "from a low-rank Gaussian copula with each edge's own distribution, zeros included, whose noise goes "
        "together on edges that share a region",
        "Gaussian copula, series": "from a low-rank Gaussian copula with each edge's own distribution, whose noise is that of correlations "
        "of time series",
        "recombined people": "by recombining what is left of training people's connectomes when their phenotypes are accounted for",
        "patterns of people": "as normal mixtures of patterns found in training people, with each edge's own distribution",
    }[card["sampler"]]
    yield f"People are drawn around the expected connectome {how}."
    if (shared := card["factors_shared"]) != 1:
        yield f"Factors have {shared:.2f} times the variance that `log_prob` gives them, so that samples share as much as real people."
    yield ""
    if "privacy" in card:
        yield "The model holds no row of any person, and differential privacy bounds what it can tell of one."
        return
    if card["holds_training_people"]:
        yield (
            "**The model holds training people's rows** (what their phenotypes leave of their connectomes): hand it on only as you may "
            "hand on the cohort."
        )
    else:
        yield (
            "The model holds no training person's row, but statistics of them without a promise of differential privacy: with few people "
            "these can give people away (`connectome-gnn privacy` measures how far)."
        )
    yield "`config.json` holds the lowest and highest value of every number among the training people, by which it warns of extrapolation."


def _limits(card: Mapping[str, Any]) -> Iterator[str]:
    score, kind = card["score"], "differential privacy's public range" if "privacy" in card else "the training people's range"
    yield "## Limits"
    yield ""
    yield (
        f"- Profiles outside of {kind} are extrapolated: the answer comes with a warning and `extrapolated` in its table, and should not "
        "be relied on."
    )
    if "privacy" not in card and score.get("low", 1.0) <= 0:
        yield "- Phenotypes tell nothing certain of connectomes here: differences between expected connectomes mean little."
    elif score["r2"] < WEAK:
        yield "- The signal is weak: averages over many profiles mean something, a single expected connectome hardly."
    yield (
        "- It is not for diagnosis, prognosis or any decision on a person: an expected connectome is what people with such a profile have "
        "on average, not what this person has, and a sample is a person who does not exist."
    )
    yield "- What changes with a phenotype is an association in this cohort, not what would happen if the phenotype were changed."
    missing = card["edges_not_modelled"]
    if missing:
        yield (
            f"- {missing:,} of {card['atlas']['edges']:,} edges are not modelled: fewer than half of the people have them, or all have the "
            "same. Their expected weight is the same for every profile."
        )
    if card["people"] < 100:
        yield f"- {card['people']} people are few: intervals are wide, and another cohort may give other effects."
    yield "- Other scanners, pipelines and populations differ in ways that it has not seen (`finetune` starts from it for another cohort)."
    yield ""
    yield "Made with " + ", ".join(f"{name} {version}" for name, version in card["versions"].items()) + "."


def _number(value: float | None, digits: int = 4) -> str:
    return "n/a" if value is None else f"{value + 0:.{digits}f}".replace("-0." + "0" * digits, "0." + "0" * digits)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return _number(value) if low is None or high is None else f"{_number(value)} [{_number(low)}, {_number(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _names(names: Sequence[str], most: int = 30) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _cell(text: str) -> str:
    """Text that cannot break out of its table cell."""
    return " ".join(text.replace("|", "\\|").split())
