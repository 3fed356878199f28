"""What :func:`connectome_gnn.topology.measure` gives back: one table of everything measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.progress import progress

__all__ = ["Level", "TopologyTable"]

Level = Literal["global", "nodal", "edge", "curve"]

Place = tuple[str | None, str | None, int | None]
"""Region, the other region, degree k."""

VALUES_AT_ONCE = 1_000_000
"""Values written to a file between two steps of the progress bar: about a second."""

LONG = ("measure", "level", "region", "other_region", "k", "value")
"""Columns of a long table after those that name the person."""


@dataclass(frozen=True, eq=False, repr=False)
class TopologyTable:
    """Measures of N people's connectomes of R regions, E = R (R - 1) / 2 edges.

    A curve has a value for every degree k, as the rich-club coefficient: of the regions of more than k edges.

    Attributes
    ----------
    values : by measure, in the order asked for: (N,) global, (N, R) nodal, (N, E) edge-wise in the order of ``np.triu_indices(R, 1)``,
        (N, R - 1) curves, column k for degree k.
    levels : by measure, ``"global"``, ``"nodal"``, ``"edge"`` or ``"curve"``.
    people : (N,) index, by participant_id (and sample) where known, otherwise counted from 0.
    regions : (R,) names, counted from 0 where unknown.
    notes : what a reader should know: what was left out and why, which partition was used.
    """

    values: Mapping[str, NDArray]
    levels: Mapping[str, Level]
    people: pd.Index
    regions: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def global_measures(self) -> pd.DataFrame:
        """Global measures, person x measure."""
        return pd.DataFrame({name: self.values[name] for name in self._of("global")}, index=self.people)

    @property
    def nodal(self) -> dict[str, NDArray]:
        """Nodal measures by name, (N, R) each."""
        return {name: self.values[name] for name in self._of("nodal")}

    @property
    def edges(self) -> dict[str, NDArray]:
        """Edge-wise measures by name, (N, E) each."""
        return {name: self.values[name] for name in self._of("edge")}

    @property
    def curves(self) -> dict[str, NDArray]:
        """Curves over degrees k = 0 ... R - 2 by name, (N, R - 1) each."""
        return {name: self.values[name] for name in self._of("curve")}

    def __getitem__(self, name: str) -> NDArray:
        if name not in self.values:
            raise ConnectomeError(f"the table has no measure {name!r}; it has {', '.join(self.values)}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.people)

    def __repr__(self) -> str:
        return f"TopologyTable({len(self)} people, {len(self.regions)} regions: {', '.join(self.values)})"

    def to_dataframe(self, form: Literal["wide", "long"] = "wide", level: Level | None = None) -> pd.DataFrame:
        """Everything, or the measures of one level, as one DataFrame.

        Parameters
        ----------
        form : ``"wide"``, a row a person and a column a value (``strength:R_V1``, ``edge_betweenness:R_V1--L_V1``, ``rich_club:k=12``),
            or ``"long"``, a row a value: the person's index as columns, measure, level, region, other_region, k (missing where a level
            has none), value.
        level : ``"global"``, ``"nodal"``, ``"edge"`` or ``"curve"``; default all.

        Returns
        -------
        frame : N rows, or N x values a person.

        Raises
        ------
        ConnectomeError
            If ``form`` or ``level`` is none of those.
        """
        if form not in ("wide", "long"):
            raise ConnectomeError(f"form is 'wide' or 'long', got {form!r}")
        if level not in (None, *get_args(Level)):
            raise ConnectomeError(f"level is {', '.join(map(repr, get_args(Level)))} or None, got {level!r}")
        names = [name for name in self.values if level in (None, self.levels[name])]
        if form == "wide":
            parts = [pd.DataFrame(self.values[name].reshape(len(self), -1), self.people, self._columns(name)) for name in names]
            return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=self.people)
        frames = [self._long(name) for name in names]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*self.people.names, *LONG])

    def save(self, path: str | Path, level: Level | None = None) -> Path:
        """Write the wide table as tab-separated values, n/a where undefined; the first columns name the person."""
        path, frame = Path(path), self.to_dataframe("wide", level)
        step = max(VALUES_AT_ONCE // max(frame.shape[1], 1), 1)
        with path.open("w", encoding="utf-8", newline="") as file, progress("Writing the table", total=len(frame)) as advance:
            for start in range(0, len(frame), step):
                rows = frame.iloc[start : start + step]
                rows.to_csv(file, sep="\t", na_rep="n/a", lineterminator="\n", header=start == 0)
                advance(len(rows))
        return path

    def _of(self, level: Level) -> list[str]:
        return [name for name in self.values if self.levels[name] == level]

    def _places(self, name: str) -> list[Place]:
        """Where each of a person's values is."""
        if self.levels[name] == "global":
            return [(None, None, None)]
        if self.levels[name] == "nodal":
            return [(region, None, None) for region in self.regions]
        if self.levels[name] == "curve":
            return [(None, None, k) for k in range(len(self.regions) - 1)]
        rows, columns = edge_indices(len(self.regions))
        return [(self.regions[i], self.regions[j], None) for i, j in zip(rows, columns, strict=True)]

    def _columns(self, name: str) -> list[str]:
        places = [f"k={k}" if k is not None else "--".join(filter(None, (one, other))) for one, other, k in self._places(name)]
        return [f"{name}:{place}" if place else name for place in places]

    def _long(self, name: str) -> pd.DataFrame:
        values = self.values[name].reshape(len(self), -1)
        places = self._places(name)
        frame = self.people.repeat(values.shape[1]).to_frame(index=False)
        frame["measure"] = name
        frame["level"] = self.levels[name]
        frame["region"] = [region for region, _, _ in places] * len(self)
        frame["other_region"] = [other for _, other, _ in places] * len(self)
        frame["k"] = pd.array([k for _, _, k in places] * len(self), dtype="Int64")
        frame["value"] = values.ravel()
        return frame
