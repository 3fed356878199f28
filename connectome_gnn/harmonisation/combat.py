"""ComBat for edges: site effects on their mean and spread, and with CovBat on how they vary together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning
from connectome_gnn.harmonisation.covariance import CovarianceEffect
from connectome_gnn.harmonisation.covariates import fit_covariates, named_columns, sites_of, warn_of_confounded
from connectome_gnn.harmonisation.empirical_bayes import SiteEffect, site_effect
from connectome_gnn.harmonisation.harmoniser import Adjustment, Harmoniser
from connectome_gnn.harmonisation.regression import LEAST_FREEDOM, EdgeRegression, GroupMoments, edges_of
from connectome_gnn.phenotypes import PhenotypeSchema

__all__ = ["ComBat"]

LEAST_VARIANCE = 1e-12
SEED = 0
"""Of the components of CovBat in big cohorts."""

COMMON, BY_SITE = ("mean", "effects", "deviation", "adjusted"), ("shift", "spread", "own")
COVARIANCE = ("centre", "scale", "directions", "target", "deviation", "shift", "ratio")


class ComBat(Harmoniser):
    """Takes a site's effects on mean and spread out of every edge, by empirical Bayes, preserving what phenotypes do.

    ``x = mean + phenotypes @ effects + deviation * (shift + sqrt(spread) * noise)`` on the modelling scale, by least squares over the
    people who have the edge, shift and spread drawn towards those of the site's other edges (Johnson, Li & Rabinovic 2007, Biostatistics
    8:118; Fortin et al. 2018, NeuroImage 167:104). Where every edge is there, this is what neuroCombat computes. Where edges are absent:
    an edge takes part if two sites have it and 5 degrees of freedom are left, otherwise it stays as it is; what is known of a site's
    effects comes from edges that at least half of its people have, and an edge that fewer of them have is drawn towards those the more,
    the fewer they are. :meth:`report` says how many edges that concerns.

    Parameters
    ----------
    batch : column that names a person's site.
    preserve : columns whose effects stay in: the sites may differ in age and sex without that being taken out.
    empirical_bayes : whether sites' effects are drawn towards those on other edges; without it edges that fewer than half of a site's
        people have stay as they are in it.
    parametric : whether the prior has the paper's form, or is the distribution of the effects on all edges.
    reference : site whose people stay as they are and everybody else is brought to; default the average of all sites.
    covbat : whether to harmonise how edges vary together as well, by the components' scores: CovBat (Chen et al. 2022, Hum Brain Mapp
        43:1179).

    Attributes
    ----------
    sites : names of the sites, in order.
    schema : the preserved phenotypes as they were in training people.
    mean, deviation : (E,) of an edge over all sites, on the modelling scale.
    effects : (F, E) change per standard deviation of each encoded phenotype (``schema.columns``).
    shift, spread : (S, E) what is taken out of each site, in deviations and as a ratio of variances.
    adjusted : (E,) edges that are harmonised.

    Examples
    --------
    >>> import connectome_gnn as cg
    >>> from connectome_gnn.harmonisation import ComBat
    >>> train, test = cg.simulate_cohort(120, 12, 5, seed=0, n_sites=2).split(0.8, seed=0)
    >>> harmonised = ComBat(batch="site", preserve=["age", "sex"]).fit(train).transform(test)
    >>> harmonised.info["processing"][-1]["step"]
    'ComBat'
    """

    step = "ComBat"

    def __init__(
        self,
        batch: str = "site",
        preserve: Sequence[str] | str | None = ("age", "sex"),
        *,
        empirical_bayes: bool = True,
        parametric: bool = True,
        reference: str | None = None,
        covbat: bool = False,
    ) -> None:
        super().__init__()
        (self.batch,) = named_columns(batch, "batch") or ("",)
        self.preserve = named_columns(preserve, "preserve")
        if not self.batch or self.batch in self.preserve:
            raise ConnectomeError(f"expected batch as a column that is not preserved, got batch={batch!r} with preserve={preserve!r}")
        self.empirical_bayes, self.parametric, self.covbat = bool(empirical_bayes), bool(parametric), bool(covbat)
        self.reference = None if reference is None else level_text(reference)
        if covbat:
            self.step = "CovBat"
        self.covariance: CovarianceEffect | None = None

    def _fit(self, cohort: Cohort) -> None:
        names = sites_of(cohort, self.batch)
        levels, site = np.unique(names.astype(str), return_inverse=True)
        self.sites = tuple(levels.tolist())
        self.n_people = np.bincount(site)
        if len(self.sites) < 2:
            raise ConnectomeError(
                f"cohort {cohort.name!r}: everybody's {self.batch!r} is {self.sites[0]!r}, so there is nothing to harmonise; "
                "ComBat needs people of at least two"
            )
        if self.reference is not None and self.reference not in self.sites:
            raise ConnectomeError(f"no training person is from the reference {self.reference!r}; the sites are {listed(self.sites, 20)}")
        alone = [name for name, number in zip(self.sites, self.n_people, strict=True) if number == 1]
        if alone:
            warnings.warn(
                f"sites of a single training person: {listed(alone)}; their shift is a guess, and their spread is left as it is",
                ConnectomeWarning,
                stacklevel=4,
            )
        self.schema = fit_covariates(cohort, self.preserve, "preserve")
        phenotypes = self._phenotypes(cohort)
        warn_of_confounded(self.schema, phenotypes, site, self.batch)
        self._fit_edges(cohort, site, phenotypes)
        self.covariance = None
        if self.covbat:
            known = (self._reference_number, len(self.sites))
            self.covariance = CovarianceEffect.fit(
                lambda: self._residuals(cohort, site, phenotypes), cohort.n_edges, site, known[1], SEED, known[0]
            )

    def _fit_edges(self, cohort: Cohort, site: NDArray[np.intp], phenotypes: NDArray[np.float64]) -> None:
        """Effects of phenotypes, means and deviations of edges, and what each site does to them."""
        regression = EdgeRegression.fit(cohort, site, len(self.sites), phenotypes)
        n, reference = regression.n, self._reference_number
        everybody = np.maximum(n.sum(0), 1)
        self.effects = regression.effects
        self.mean = (n * regression.level).sum(0) / everybody if reference is None else regression.level[reference]
        self.adjusted = ((n > 0).sum(0) >= 2) & (regression.freedom >= LEAST_FREEDOM)
        moments = self._moments(cohort, site, len(self.sites), phenotypes)
        if reference is None:
            variance = moments.scatter.sum(0) / everybody
        else:
            variance = moments.scatter[reference] / np.maximum(n[reference], 1)
            self.adjusted &= n[reference] >= 2
        self.adjusted &= variance > LEAST_VARIANCE
        if not self.adjusted.any():
            raise ConnectomeError(
                f"cohort {cohort.name!r}: no edge can be harmonised; each is there in one site alone, in too few people, or the same "
                "in everybody"
            )
        self.deviation = np.sqrt(np.where(self.adjusted, variance, 1))
        effects = [self._effect(moments, number, int(people)) for number, people in enumerate(self.n_people)]
        if reference is not None:
            kept = effects[reference]
            effects[reference] = SiteEffect(np.zeros_like(kept.shift), np.ones_like(kept.spread), kept.own)
        self.shift, self.spread, self.own = (np.stack([getattr(effect, name) for effect in effects]) for name in BY_SITE)

    def adapt(self, cohort: Cohort) -> ComBat:
        """A harmoniser that knows further sites too, learned from people of theirs; this one stays as it is.

        What training people of the other sites told stays: means, deviations and what preserved phenotypes do. Only the new sites' effects
        are learned, from everybody of them in ``cohort``: whoever is to be tested must not be in it. People of known sites are ignored.

        Raises
        ------
        ConnectomeError
            As for :meth:`transform`; if nobody is from a new site.
        """
        self._check(cohort)
        names = sites_of(cohort, self.batch)
        new = sorted(set(names.tolist()) - set(self.sites))
        if not new:
            raise ConnectomeError(f"cohort {cohort.name!r} has no site that is new: {listed(self.sites, 20)} are known; use transform")
        site = np.array([new.index(name) if name in new else -1 for name in names])
        known = copy(self)
        phenotypes = self._phenotypes(cohort)
        moments = self._moments(cohort, site, len(new), phenotypes)
        people = np.bincount(site[site >= 0], minlength=len(new))
        effects = [self._effect(moments, number, int(people[number])) for number in range(len(new))]
        known.sites, known.n_people = (*self.sites, *new), np.concatenate([self.n_people, people])
        for name in BY_SITE:
            setattr(known, name, np.concatenate([getattr(self, name), np.stack([getattr(effect, name) for effect in effects])]))
        if self.covariance is not None:
            place = np.where(site < 0, 0, site + len(self.sites))
            known.covariance = self.covariance.extended(lambda: known._residuals(cohort, place, phenotypes), site, len(new))
        return known

    def report(self) -> pd.DataFrame:
        """What was learned of each site: one row a site.

        Returns
        -------
        table : training ``people``; ``edges_own``, edges whose effects come from its own people first of all; ``edges_drawn``, edges that
            fewer than half of them have, drawn towards the others (without empirical Bayes left as they are); ``edges_left``, edges that
            are not harmonised; median ``shift`` (its size, in deviations of an edge) and ``spread`` (ratio of standard deviations).
        """
        self._check_fitted()
        own = self.own.sum(1)
        return pd.DataFrame(
            {
                "people": self.n_people,
                "edges_own": own,
                "edges_drawn": self.adjusted.sum() - own,
                "edges_left": (~self.adjusted).sum(),
                "shift": np.median(np.abs(self.shift[:, self.adjusted]), 1),
                "spread": np.median(np.sqrt(self.spread[:, self.adjusted]), 1),
            },
            index=pd.Index(self.sites, name=self.batch),
        )

    def record(self) -> dict[str, Any]:
        """As for every harmoniser, with the sites and how many edges stay as they are."""
        said = {"sites": list(self.sites), "edges_left": int((~self.adjusted).sum())}
        return {**super().record(), **said, "edges_drawn": dict(zip(self.sites, self.report()["edges_drawn"].tolist(), strict=True))}

    # --- what is done to people ----------------------------------------------------------------------------------------

    @property
    def _reference_number(self) -> int | None:
        return None if self.reference is None else self.sites.index(self.reference)

    def _phenotypes(self, cohort: Cohort) -> NDArray[np.float64]:
        return self.schema.encode(cohort.phenotypes).values if self.preserve else np.zeros((cohort.n_people, 0))

    def _moments(self, cohort: Cohort, site: NDArray[np.intp], n_sites: int, phenotypes: NDArray[np.float64]) -> GroupMoments:
        """How people's values lie around what is expected of them on average over sites."""
        return GroupMoments.of(cohort, site, n_sites, lambda rows, values: values - self.mean - phenotypes[rows] @ self.effects)

    def _effect(self, moments: GroupMoments, number: int, n_people: int) -> SiteEffect:
        return site_effect(
            moments.n[number],
            moments.mean[number] / self.deviation,
            moments.scatter[number] / self.deviation**2,
            n_people,
            self.adjusted,
            empirical_bayes=self.empirical_bayes,
            parametric=self.parametric,
        )

    def _standardised(
        self, values: NDArray[np.float64], expected: NDArray[np.float64], present: NDArray[np.bool_], site: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Harmonised residuals (n, E) in deviations of an edge; 0 where an edge is absent or stays as it is."""
        residual = ((values - expected) / self.deviation - self.shift[site]) / np.sqrt(self.spread[site])
        return np.where(present & self.adjusted, residual, 0)

    def _residuals(
        self, cohort: Cohort, site: NDArray[np.intp], phenotypes: NDArray[np.float64]
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        for rows, values, present in edges_of(cohort):
            yield rows, self._standardised(values, self.mean + phenotypes[rows] @ self.effects, present, site[rows])

    def _adjustment(self, cohort: Cohort) -> Adjustment:
        names = sites_of(cohort, self.batch)
        unknown = sorted(set(names.tolist()) - set(self.sites))
        if unknown:
            raise ConnectomeError(
                f"cohort {cohort.name!r} has people of {self.batch} {listed(unknown, 5)}, which no training person is from "
                f"(known: {listed(self.sites, 20)}); learn them with adapt(people of theirs), or leave them out"
            )
        number = {name: place for place, name in enumerate(self.sites)}
        site = np.array([number[name] for name in names])
        phenotypes = self._phenotypes(cohort)
        kept = np.zeros(len(site), bool) if self.reference is None else site == self._reference_number

        def adjust(rows: NDArray[np.intp], values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
            expected = self.mean + phenotypes[rows] @ self.effects
            residual = self._standardised(values, expected, present, site[rows])
            if self.covariance is not None:
                residual = self.covariance.adjusted(residual, site[rows])
            return np.where(self.adjusted & ~kept[rows, None], expected + residual * self.deviation, values)

        return adjust

    # --- files ---------------------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in ("batch", "empirical_bayes", "parametric", "reference", "covbat")}
        return {**record, "preserve": list(self.preserve)}

    def _learned(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        arrays = {name: getattr(self, name) for name in (*COMMON, *BY_SITE, "n_people")}
        record: dict[str, Any] = {"sites": list(self.sites), "schema": self.schema.to_dict()}
        if self.covariance is not None:
            arrays |= {f"covariance.{name}": getattr(self.covariance, name) for name in COVARIANCE}
            record["explained"] = self.covariance.explained
        return record, arrays

    def _relearn(self, record: dict[str, Any], arrays: dict[str, NDArray]) -> None:
        self.sites, self.schema = tuple(record["sites"]), PhenotypeSchema.from_dict(record["schema"])
        for name in (*COMMON, *BY_SITE, "n_people"):
            setattr(self, name, arrays[name])
        if "explained" in record:
            known = {name: arrays[f"covariance.{name}"] for name in COVARIANCE}
            self.covariance = CovarianceEffect(**known, explained=record["explained"])
