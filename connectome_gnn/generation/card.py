"""The card of a saved model: whom it was fitted to, how good it is, what it must not be used for; as data and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from connectome_gnn.evaluation.resampling import resamples
from connectome_gnn.generation.card_text import card_text
from connectome_gnn.generation.closed_form import TOGETHER
from connectome_gnn.phenotypes import Phenotype, PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.generation.comparison import Ranking
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = ["card_of", "card_text", "described_people", "held_out_scores", "score_interval"]

TAILS = (0.05, 0.5, 0.95)
FEW = 5
"""Levels that fewer people have are named without their number."""

SMALL = 200
"""With fewer people shares are rounded to 5 %, which no single person changes by much."""

BOOTSTRAP = 1000


def described_people(schema: PhenotypeSchema, table: pd.DataFrame) -> list[dict[str, Any]]:
    """What the training people were like, as far as it tells of nobody in particular: one record a phenotype.

    Numbers by their 5 %, 50 % and 95 % quantiles, rounded to about a fifth of their standard deviation; levels by shares rounded to 1 %
    (5 % below 200 people), those of fewer than 5 people without a share.
    """
    return [_described(phenotype, table[phenotype.name], len(table)) for phenotype in schema.phenotypes]


def _described(phenotype: Phenotype, column: pd.Series, n: int) -> dict[str, Any]:
    record = _named(phenotype)
    positions = phenotype.positions(column)
    present = positions[~np.isnan(positions)]
    record["missing"] = _share(1 - len(present) / n, n)
    if phenotype.kind == "continuous":
        if len(present) >= FEW:
            step = 10.0 ** np.floor(np.log10(max(float(present.std()), 1e-12) / 2))
            low, middle, high = (_plain(np.round(value / step) * step) for value in np.quantile(present, TAILS))
            record["range"] = {"5 %": low, "median": middle, "95 %": high}
        return record
    counts = np.bincount(present.astype(int), minlength=len(phenotype.codes))
    told = [(code, k) for code, k in zip(phenotype.codes, counts, strict=True) if k >= FEW]
    shares = {_meaning(phenotype, code): _share(k / len(present), n) for code, k in told}
    record["shares"] = dict(sorted(shares.items(), key=lambda item: -item[1])[:10]) if phenotype.kind == "categorical" else shares
    rare = int(((counts > 0) & (counts < FEW)).sum())
    if rare:
        record["rare_levels"] = rare
    return record


def _public(phenotype: Phenotype) -> dict[str, Any]:
    """The same of a model under differential privacy: the public range, and what its noisy statistics say."""
    record = {**_named(phenotype), "missing": round(phenotype.missing, 2)}
    if phenotype.kind == "continuous":
        mean = float(f"{phenotype.mean[0]:.3g}")
        record["range"] = {"public lowest": phenotype.low, "public highest": phenotype.high, "about (noisy mean)": mean}
    elif phenotype.kind == "binary" and len(phenotype.codes) == 2:
        second = min(max(phenotype.mean[0], 0.0), 1.0)
        record["shares"] = {_meaning(phenotype, code): round(p, 2) for code, p in zip(phenotype.codes, (1 - second, second), strict=True)}
    elif phenotype.kind == "categorical":
        record["shares"] = {_meaning(phenotype, code): round(p, 2) for code, p in zip(phenotype.codes, phenotype.mean, strict=True)}
    return record


def _named(phenotype: Phenotype) -> dict[str, Any]:
    record: dict[str, Any] = {"name": phenotype.name, "kind": phenotype.kind, "group": phenotype.group}
    return record | {key: value for key in ("units", "description") if (value := getattr(phenotype, key))}


def _meaning(phenotype: Phenotype, code: str) -> str:
    meaning = (phenotype.levels or {}).get(code) or code
    return meaning if meaning == code else f"{code} ({meaning})"


def _share(share: float, n: int) -> float:
    step = 0.01 if n >= SMALL else 0.05
    return _plain(round(share / step) * step)


def _plain(value: float) -> float:
    """Without the digits that rounding leaves behind."""
    return float(f"{value:.6g}")


def score_interval(residual: np.ndarray, scores: np.ndarray, energy: float, r2: float, units: np.ndarray, seed: int) -> dict[str, float]:
    """95 % interval of a cross-fitted R2 beyond the mean, by a bootstrap over people.

    Parameters
    ----------
    residual, scores : (n, K) what is left of people's components by models without them, and the components.
    energy : of all people's standardised edges; what lies outside of the components is everybody's alike.
    r2 : the score, around which the bootstrap's draws are centred.
    units : (n,) people who belong together.
    seed : of the draws.
    """
    inside = (np.asarray(scores, np.float64) ** 2).sum(1)
    total = inside + max(energy - inside.sum(), 0) / len(inside)
    gained = np.bincount(units, inside - (np.asarray(residual, np.float64) ** 2).sum(1))
    total = np.bincount(units, total)
    counts = resamples(np.arange(len(total)), BOOTSTRAP, seed)[1:].astype(np.float64)
    low, high = np.percentile(counts @ gained / (counts @ total) - gained.sum() / total.sum(), [2.5, 97.5])
    return {"r2": float(r2), "low": float(r2 + low), "high": float(r2 + high)}


def held_out_scores(ranking: Ranking, n_train: int, n_test: int) -> dict[str, Any]:
    """Scores on people held out, of the generator and the rivals beside it, to be kept in a model's ``held_out`` and its card."""
    models = [{key: value for key, value in record.items() if key != "seconds"} for record in ranking.to_records()]
    return json.loads(json.dumps({"n_train": n_train, "n_test": n_test, "models": models, "unfitted": ranking.unfitted}, default=float))


def card_of(model: ConnectomeGenerator, versions: Mapping[str, str]) -> dict[str, Any]:
    """Everything a reader should know of a fitted model, as plain JSON values.

    Under differential privacy nothing in it but what is public, or was paid for from the budget.
    """
    earned = model.earned
    private = model.privacy is not None
    kept = model.space.kept
    card: dict[str, Any] = {
        "cohort": model.cohort_name,
        "people": model.n_training,
        "age_and_sex": [name for name in (model.features.age, model.features.sex) if name],
        "measure": model.measure,
        "signed": model.signed,
        "atlas": {"name": model.atlas.name, "regions": model.atlas.n_regions, "edges": model.atlas.n_edges},
        "phenotypes": [_public(p) for p in model.schema.phenotypes] if private else model.people_described,
        "fit": {
            "seed": model.seed,
            "messages": model.messages,
            "network": model.network is not None,
            "components": model.space.n_components,
        },
        "score": model.score if model.score is not None else {"r2": float(earned["r2"][TOGETHER])},
        "held_out": None if private else model.held_out,
        "earned": [{"path": str(path), **row} for path, row in earned[["r2", "weight"]].to_dict("index").items()],
        "network_gate": float(model.gate.mean()) if model.members else 0.0,
        "sampler": _sampler(model),
        "factors_shared": 1.0 if model.people is None else model.people.recipe.shared,
        "holds_training_people": model.holds_training_people,
        "edges_not_modelled": int((~kept).sum()),
        "versions": dict(versions),
    }
    if private:
        account = model.account or {}
        card["privacy"] = {key: account[key] for key in ("epsilon", "delta", "neighbours", "noise") if key in account}
    if model.nuisances is not None:
        card["nuisance"] = {"set_to": model.nuisances.reference, "by": model.nuisances.way}
    if model.transfer is not None:
        moved = model.transfer
        card["transfer"] = {
            "source": moved.source_name,
            "source_people": moved.source_people,
            "source_epsilon": moved.source_promise,
            "helped": moved.helped,
            "gain": moved.gain,
            "comparison": moved.comparison.reset_index().to_dict("records"),
            "shared": list(moved.shared),
            "only_in_source": list(moved.absent),
            "only_here": list(moved.added),
            "residual_share": moved.blended,
        }
    return json.loads(json.dumps(card))


def _sampler(model: ConnectomeGenerator) -> str:
    if model.people is None:
        return "Gaussian copula"
    recipe = model.people.recipe
    if recipe.factors:
        return "Gaussian copula" if recipe.noise == "regions" and recipe.own == 1 else f"Gaussian copula, {recipe.noise}"
    return "recombined people" if model.holds_training_people else "patterns of people"
