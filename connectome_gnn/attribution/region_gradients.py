"""How much each phenotype moves each region of the generated connectome: integrated gradients of every region's strength at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.atlas import Atlas
from connectome_gnn.attribution.arguments import check_share, check_whole
from connectome_gnn.attribution.gradients import Baseline, Presence, Some, encoded_profiles, quadrature, refined
from connectome_gnn.attribution.mean_path import MeanPath, to_square
from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.evaluation.resampling import generator_for, resamples
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.progress import progress
from connectome_gnn.slices import slices
from connectome_gnn.splits import units_of

__all__ = ["RegionGradients", "regional_gradients"]

ROWS = 64  # profiles that go through the model at once
REGIONS_AT_ONCE = 16  # whose gradients go back through it at once


@dataclass(frozen=True)
class RegionGradients:
    """Attributions of regional strength to phenotypes, and their averages over people.

    Attributes
    ----------
    values : (n, P, R) float32 integrated gradients: their sum over phenotypes is a region's strength in the person's expected connectome
        minus its strength in the baseline's, in units of weight.
    standardised : (n, F) the people's encoded phenotypes.
    residual : (n,) what attributions lack of that, summed over regions, as a share of the mean over people of what they should add up to.
    people : (n,) participant_id of the people looked at.
    schema, atlas : phenotypes and regions.
    weights : (1 + B, n) how often each person counts in each resample of people; the first row is everybody.
    confidence : of intervals.
    """

    values: NDArray[np.float32] = field(repr=False)
    standardised: NDArray[np.float64] = field(repr=False)
    residual: NDArray[np.float64]
    people: pd.Index
    schema: PhenotypeSchema = field(repr=False)
    atlas: Atlas = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    confidence: float

    def table(self) -> pd.DataFrame:
        """A row a phenotype and region.

        Columns: phenotype, group, region, hemisphere, network, x, y, z; ``value``, ``low``, ``high``: mean over people of the size of
        the region's attributions to the phenotype; ``slope``, ``slope_low``, ``slope_high``: change of strength per training standard
        deviation of the phenotype, sign included (least squares over people), NaN for categories, which have no order.
        """
        where = self.atlas.to_frame().rename(columns={"label": "region"})
        parts = []
        for number, phenotype in enumerate(self.schema.phenotypes):
            moved = self.values[:, number].astype(np.float64)
            found = self._interval(np.abs(moved), np.ones(len(moved)))
            slopes = np.full((3, len(where)), np.nan)
            if phenotype.kind != "categorical":
                x = self.standardised[:, self.schema.columns.index(phenotype.name)]
                slopes = self._interval(moved * x[:, None], x**2)
            columns: dict[str, Any] = dict(
                zip(("value", "low", "high", "slope", "slope_low", "slope_high"), [*found, *slopes], strict=True)
            )
            parts.append(
                pd.DataFrame(
                    {"phenotype": phenotype.name, "group": phenotype.group, **{str(name): where[name] for name in where}, **columns}
                )
            )
        return pd.concat(parts, ignore_index=True)

    def by_phenotype(self) -> pd.DataFrame:
        """Mean over people and regions of the size of attributions, with interval; indexed by phenotype, with its group."""
        size = np.abs(self.values).mean(2, dtype=np.float64)
        groups = [phenotype.group for phenotype in self.schema.phenotypes]
        return self._averages(size, pd.Index(self.schema.names, name="phenotype")).assign(group=groups)[["group", "value", "low", "high"]]

    def by_group(self) -> pd.DataFrame:
        """The same of each group, whose phenotypes' attributions are added up first; indexed by group."""
        groups = self.schema.groups
        size = np.stack([np.abs(self._sum(names)).mean(1, dtype=np.float64) for names in groups.values()], 1)
        return self._averages(size, pd.Index(groups, name="group"))

    def by_network(self) -> pd.DataFrame:
        """The same of each group in each system, averaged over its regions; columns group, network, value, low, high."""
        networks = np.array(self.atlas.network)
        parts = []
        for group, names in self.schema.groups.items():
            moved = np.abs(self._sum(names))
            found = list(dict.fromkeys(networks.tolist()))
            size = np.stack([moved[:, networks == network].mean(1, dtype=np.float64) for network in found], 1)
            parts.append(self._averages(size, pd.Index(found, name="network")).reset_index().assign(group=group))
        return pd.concat(parts, ignore_index=True)[["group", "network", "value", "low", "high"]]

    def _sum(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Attributions (n, R) of several phenotypes together."""
        together: NDArray[np.float32] = self.values[:, [self.schema.names.index(name) for name in names]].sum(1)
        return together

    def _averages(self, size: NDArray[np.float64], index: pd.Index) -> pd.DataFrame:
        found = self._interval(size, np.ones(len(size)))
        return pd.DataFrame(dict(zip(("value", "low", "high"), found, strict=True)), index=index)

    def _interval(self, numbers: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over people of numbers (n, m) over the sum of their weights (n,), with interval, (3, m); 0 where weights add up to 0."""
        total = self.weights @ weights
        means = np.divide(self.weights @ numbers, total[:, None], out=np.zeros((len(total), numbers.shape[1])), where=total[:, None] > 0)
        tail = (1 - self.confidence) / 2
        return np.stack([means[0], *(np.quantile(means[1:], [tail, 1 - tail], axis=0) if len(means) > 1 else [means[0]] * 2)])


def regional_gradients(
    model: ConnectomeGenerator,
    phenotypes: pd.DataFrame | Cohort,
    *,
    baseline: Baseline = "missing",
    most_people: int = 256,
    n_steps: int = 8,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RegionGradients:
    """Integrated gradients of every region's strength with respect to every phenotype, averaged over people.

    What :func:`~connectome_gnn.attribution.gradients.integrated_gradients` does for one measure, for all regions at once: an edge's
    gradient is shared by the two regions that it joins.

    Parameters
    ----------
    model : a fitted generator.
    phenotypes : profiles, as for ``model.expected``; or a cohort's. The rows of a person, and the people of a ``family_id`` where there is
        such a column, are resampled together.
    baseline : as for :func:`~connectome_gnn.attribution.gradients.integrated_gradients`.
    most_people : at most this many people are looked at, drawn at random.
    n_steps : points of the quadrature along the way from the baseline to a person, more for people whose attributions miss more than 1 %.
    n_bootstrap : resamples of people for the intervals.
    confidence : of the intervals.
    seed : of the draw of people and the resamples.

    Returns
    -------
    found : RegionGradients.

    Raises
    ------
    ConnectomeError
        If the model is no fitted ConnectomeGenerator, or the profiles cannot be used.
    """
    for name, number, least in (("most_people", most_people, 1), ("n_steps", n_steps, 1), ("n_bootstrap", n_bootstrap, 0)):
        check_whole(name, number, least)
    check_share("confidence", confidence)
    phenotypes = phenotypes.phenotypes if isinstance(phenotypes, Cohort) else phenotypes
    if not isinstance(phenotypes, pd.DataFrame):
        raise ConnectomeError(f"expected profiles as a table, one row a person, or a cohort, got {type(phenotypes).__name__}")
    if not len(phenotypes):
        raise ConnectomeError("expected profiles of at least one person, got none")
    path = MeanPath(model, torch.float32)
    if len(phenotypes) > most_people:
        chosen = np.sort(generator_for(seed, "people of gradients").choice(len(phenotypes), most_people, replace=False))
        phenotypes = phenotypes.iloc[chosen]
    encoded, people = encoded_profiles(model, phenotypes)
    presence = Presence(path, model, encoded, baseline)
    back = _Back.of(path)
    n, n_phenotypes = presence.missing.shape
    batches = list(slices(n, ROWS))
    with torch.no_grad():
        strengths = [
            torch.cat([path.matrices(*_at(presence, share, rows)).sum(2) for rows in batches]).double().numpy() for share in (1.0, 0.0)
        ]
    wanted = strengths[0] - strengths[1]
    scale = np.abs(wanted).sum(1).mean()

    def missed(rows: NDArray[np.intp], found: NDArray[np.float32]) -> NDArray[np.float64]:
        away = np.abs(found.sum(1, dtype=np.float64) - wanted[rows]).sum(1)
        return away / scale if scale > 0 else np.zeros(len(rows))

    with progress("Gradients of regions", total=len(batches) * n_steps) as advance:

        def attributed(rows: NDArray[np.intp], points: int) -> NDArray[np.float32]:
            found = np.zeros((len(rows), n_phenotypes, path.n_regions), np.float32)
            for some in slices(len(rows), ROWS):
                for share, weight in zip(*quadrature(points), strict=True):
                    found[some] += weight * back.gradients(presence, share, rows[some])
                    advance()
            return found

        values, residual = refined(n, n_steps, attributed, missed)
    units = units_of(people, phenotypes.get("family_id"))
    draws = resamples(units, n_bootstrap, seed) if units.max() > 0 else np.ones((1, n), np.float32)
    return RegionGradients(values, encoded.values, residual, people, model.schema, model.atlas, draws, confidence)


def _at(presence: Presence, share: float, rows: Some) -> tuple[Tensor, Tensor, Tensor | None]:
    return presence.arguments(presence.at(share, rows), presence.values[rows], presence.missing[rows])


@dataclass(frozen=True)
class _Back:
    """The way back from regions' strengths to features: effects of each feature, (R, F + D', R), and of each component, (R, K, R)."""

    path: MeanPath
    maps: Tensor
    basis: Tensor | None

    @classmethod
    def of(cls, path: MeanPath) -> _Back:
        def by_region(effects: Tensor) -> Tensor:
            whole = effects.new_zeros(len(effects), len(path.mean)).index_copy(1, path.kept, effects * path.std)
            return to_square(whole, path.n_regions).permute(1, 0, 2).contiguous()

        return cls(path, by_region(path.maps), by_region(path.basis[: len(path.gate)]) if path.members else None)

    def gradients(self, presence: Presence, share: float, rows: Some) -> NDArray[np.float32]:
        """Gradients (n, P, R) of the regions' strengths with respect to presence, for some people."""
        path = self.path
        at = presence.at(share, rows).requires_grad_()
        values, missing, present = presence.arguments(at, presence.values[rows], presence.missing[rows])
        with torch.no_grad():
            slope = to_square(path.slope(path.modelled(values, missing, present)), path.n_regions).permute(1, 2, 0)
        outputs, effects = [path.design(path.scaled(values, present))], [self.maps]
        added = path.components(values, missing, present)
        if added is not None and self.basis is not None:
            outputs.append(added)
            effects.append(self.basis)
        found = torch.empty(path.n_regions, *at.shape)
        for regions in slices(path.n_regions, REGIONS_AT_ONCE):
            cotangents = [(effect[regions] @ slope[regions]).transpose(1, 2) for effect in effects]
            (found[regions],) = torch.autograd.grad(outputs, at, cotangents, is_grads_batched=True, retain_graph=True)
        return (found * presence.varies).permute(1, 2, 0).numpy()
