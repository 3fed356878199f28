"""Which scores there are: the parts of an evaluation, and scores that users register."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.scores import Score, SharedScore

__all__ = ["PARTS", "Entry", "chosen_scores", "register_score", "scores_of", "unregister_score"]

_HOMES = {
    "fidelity": "fidelity:fidelity_scores",
    "distribution": "distribution:distribution_scores",
    "privacy": "privacy:privacy_scores",
    "usefulness": "usefulness:usefulness_scores",
}

PARTS = tuple(_HOMES)
"""The parts of an evaluation; ``"all"`` is all of them."""

OWN = "own"

_registered: dict[str, Entry] = {}


@dataclass(frozen=True)
class Entry:
    """A score and the part of an evaluation that it belongs to."""

    score: Any
    part: str

    @property
    def needs_same_people(self) -> bool:
        """Whether other people are an error; a paired score of another part is only undefined for them."""
        return bool(self.score.paired) and self.part in ("fidelity", OWN)


def register_score(score: Score, part: str = OWN) -> None:
    """Make a score of your own part of every evaluation that names its part (or the score itself).

    Parameters
    ----------
    score : an object with ``name``, ``paired``, ``topology`` and ``compute(generated, real, reference)`` (:class:`Score`).
    part : a part there is (then computed with it), or a new one.

    Raises
    ------
    TypeError, ConnectomeError
        If it is no score, or a score of that name exists.
    """
    _check_score(score)
    if score.name in _registered or any(score.name == known.name for name in PARTS for known in scores_of(name)):
        raise ConnectomeError(f"there is a score {score.name!r} already; unregister it, or choose another name")
    _registered[score.name] = Entry(score, part)


def unregister_score(name: str) -> None:
    """Take back :func:`register_score`.

    Raises
    ------
    ConnectomeError
        If no score of that name was registered.
    """
    if name not in _registered:
        raise ConnectomeError(f"no score {name!r} was registered; registered are {', '.join(map(repr, _registered)) or 'none'}")
    del _registered[name]


def scores_of(part: str, measures: tuple[str, ...] = ()) -> list[SharedScore]:
    """The project's own scores of one part, given the topology measures to score."""
    module, function = _HOMES[part].split(":")
    make: Callable[[tuple[str, ...]], Sequence[SharedScore]] = getattr(import_module(f"connectome_gnn.evaluation.{module}"), function)
    return list(make(measures))


def chosen_scores(parts: str | Score | Sequence[str | Score], measures: tuple[str, ...]) -> list[Entry]:
    """Scores of named parts, scores by name, and those given themselves, each with its part.

    Raises
    ------
    TypeError, ConnectomeError
        If a name is unknown, something is no score, a score occurs twice, or there is none.
    """
    asked: list[Any] = [parts] if isinstance(parts, str) or not isinstance(parts, Sequence) else list(parts)
    if "all" in asked:
        asked = [*PARTS, *(part for part in asked if part != "all" and part not in PARTS)]
    entries: list[Entry] = []
    for wanted in asked:
        if isinstance(wanted, str):
            entries.extend(_named(wanted, measures))
        else:
            _check_score(wanted)
            entries.append(Entry(wanted, OWN))
    names = [entry.score.name for entry in entries]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ConnectomeError(f"every score needs a name of its own, {repeated[0]!r} occurs {names.count(repeated[0])} times")
    if not entries:
        raise ConnectomeError(f"nothing to score: name at least one part of {', '.join(map(repr, PARTS))}")
    return entries


def _named(wanted: str, measures: tuple[str, ...]) -> list[Entry]:
    """The scores of a part, or the score of that name."""
    own = [entry for entry in _registered.values() if entry.part == wanted]
    if wanted in PARTS:
        return [Entry(score, wanted) for score in scores_of(wanted, measures)] + own
    if own:
        return own
    if wanted in _registered:
        return [_registered[wanted]]
    known: list[str] = list(PARTS)
    for part in PARTS:
        for score in scores_of(part, measures):
            if score.name == wanted:
                return [Entry(score, part)]
            known.append(score.name)
    near = get_close_matches(wanted, known, n=1)
    raise ConnectomeError(
        f"unknown part or score {wanted!r} of an evaluation; the parts are {', '.join(map(repr, PARTS))}"
        + (f", the nearest name is {near[0]!r}" if near else "")
    )


def _check_score(score: Any) -> None:
    if isinstance(score, type):
        raise TypeError(f"a score is an object, not its class; give {score.__name__}() in the place of {score.__name__}")
    if not isinstance(score, Score):
        raise TypeError(f"a score has a name, paired, topology and compute(generated, real, reference); {score!r} has not")
