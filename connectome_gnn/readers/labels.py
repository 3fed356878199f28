"""The names of regions: whether a file's are the atlas's, and the side of the brain a name is on."""

from __future__ import annotations

from collections.abc import Sequence

from connectome_gnn.atlas import UNKNOWN, Atlas
from connectome_gnn.atlases.sides import hemisphere_of
from connectome_gnn.errors import ConnectomeError

__all__ = ["check_labels", "counted", "sides_of"]


def counted(labels: Sequence[str]) -> bool:
    """Whether labels merely count the regions: 0, 1, ... or 1, 2, ... or V1, V2, ..."""
    names = tuple(labels)
    return any(names == tuple(f"{mark}{start + n}" for n in range(len(names))) for mark, start in (("", 0), ("", 1), ("V", 1)))


def check_labels(labels: Sequence[str], atlas: Atlas, where: str, what: str = "region") -> None:
    """Refuse labels that are not the atlas's in its order, unless they merely count the regions and are no names of its own.

    Raises
    ------
    ConnectomeError
        With the first region that differs, and whether the order or the atlas is another.
    """
    names = tuple(label.strip() for label in labels)
    if names == atlas.labels or (counted(names) and len(names) == len(atlas) and set(names) != set(atlas.labels)):
        return
    if len(names) != len(atlas):
        raise ConnectomeError(f"{where}: expected {len(atlas)} regions as atlas {atlas.name!r} has, got labels of {len(names)}")
    place = next(n for n, (label, expected) in enumerate(zip(names, atlas.labels, strict=True)) if label != expected)
    problem = "the regions are in another order" if names[place] in atlas.labels else "it is of another atlas"
    raise ConnectomeError(
        f"{where}: {what} {place + 1} is labelled {names[place]!r} where atlas {atlas.name!r} has {atlas.labels[place]!r}; {problem}"
    )


def sides_of(atlas: Atlas) -> tuple[str, ...]:
    """Hemisphere of every region, (R,): the atlas's own, or by the name where the atlas does not say."""
    return tuple(side if side != UNKNOWN else hemisphere_of(label) for label, side in zip(atlas.labels, atlas.hemisphere, strict=True))
