"""Simulated cohorts whose truth is known: what each phenotype does to each edge, everybody's expected connectome, the ceiling of R2.

A person's connectome comes about in three steps. Phenotypes give scores on a few effects; scores times effect maps, added to the
group's connectivity, are the mean of a Gaussian; residuals, correlated through global factors, are added. The result lives on the
modelling scale. For non-negative weights it is cut off at 0, which makes absent edges exactly 0, the weaker an edge the more often.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from connectome_gnn.atlas import Atlas
from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import edge_indices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.phenotypes import PhenotypeSchema
from connectome_gnn.simulated_brain import draw_atlas, draw_maps, edge_pattern, random_walk
from connectome_gnn.simulated_effects import BUDGET, Effects, draw_effects
from connectome_gnn.simulated_people import draw_people, leave_gaps
from connectome_gnn.simulated_traits import choose_traits, describe, site_trait
from connectome_gnn.simulated_truth import Truth, World, presence

__all__ = ["MEASURES", "Truth", "World", "simulate_cohort"]

MEASURES = {"streamline_count": "whole numbers", "sift2_fbc": "non-negative numbers", "pearson": "correlations"}
"""Measures that can be simulated, and what their weights are."""

N_REFERENCE = 4000  # people in whom effects are standardised and calibrated; they are in no cohort
# How much stronger or weaker an effect of cognition is where systems of association and of sensation lie.
ASSOCIATION = {
    "Frontoparietal": 1.6,
    "Default": 1.5,
    "DorsalAttention": 1.4,
    "VentralAttention": 1.1,
    "Limbic": 0.8,
    "Somatomotor": 0.6,
    "Visual": 0.4,
}
N_FACTORS, FACTOR_SHARE, MOST_SHARED = 16, 0.45, 0.9  # global factors of the residuals; their share of variance, on average and at most
STRONGEST, MOST_SHRINKING = 11.0, 15  # latent mean of the strongest edge, e^11 streamlines; steps of 10 % towards it
CALIBRATION_ROUNDS = 12


def simulate_cohort(
    n_people: int = 500,
    n_regions: int = 84,
    n_phenotypes: int = 40,
    *,
    seed: int = 0,
    people_seed: int | None = None,
    explained: float = 0.06,
    density: float | None = None,
    missing: float = 0.05,
    n_sites: int = 1,
    site_explained: float = 0.03,
    measure: str = "streamline_count",
    backbone_spread: float = 0.3,
    nonlinearity: float = 0.4,
    null_share: float = 0.0,
    name: str = "simulated",
) -> Cohort:
    """Simulate a cohort: people like UK Biobank's, their connectomes, and the truth about both.

    Age, sex and body measures together explain four times as much as cognition and lifestyle together; cognition acts more on
    association cortex than on the visual system. Ageing accelerates from 55 years on, some effects saturate, some of them differ by
    age or sex, and every phenotype has at least a small effect.

    Parameters
    ----------
    n_people : number of people N, at least 2.
    n_regions : number of regions R, at least 4, in two mirrored hemispheres and seven systems; odd numbers are allowed.
    n_phenotypes : number of phenotypes P, at least 2 (age and sex); the others come from lifestyle, body and cognition in UK Biobank's
        proportions (85, 78, 29). From 195 on, further ones are numbered. ``site`` comes on top where there are several sites.
    seed : seed of everything.
    people_seed : seed of people and residuals alone, default ``seed``: another one gives other people of the same world, with the same
        regions, group connectivity and effects.
    explained : R2 beyond the mean that phenotypes explain, in [0, 1); 0 for no effect at all.
    density : average share of edges that are present, in (0, 1]; default 0.6 for non-negative weights. Correlations have none absent.
    missing : share of missing values, in [0, 0.5], gaps of a person lying together; age, sex and site have none.
    n_sites : number of imaging sites; from 2 on there is a phenotype ``site`` that shifts edges.
    site_explained : R2 beyond the mean that site explains on top of ``explained``.
    measure : ``"streamline_count"`` (whole numbers), ``"sift2_fbc"`` (other non-negative numbers) or ``"pearson"`` (correlations, signed).
    backbone_spread : how far effects spread along the group's backbone, from 0 (maps smooth in space, with a part of each edge's own) to 1
        (noise diffused along the backbone, all of it), so that messages between regions help to learn them.
    nonlinearity : share of non-linear parts of effects, from 0 (sums of phenotypes only) to 1.
    null_share : share of the phenotypes other than age and sex that have no effect whatever, in [0, 1).
    name : name of the cohort.

    Returns
    -------
    cohort : Cohort with weights (N, E) float32 and ``truth``, a :class:`Truth`. Its ``ceiling`` is ``explained`` (plus
        ``site_explained``) but for chance: within about .003 for 3,000 people.

    Raises
    ------
    ConnectomeError
        If an argument is out of range; the sentence says which.

    Examples
    --------
    >>> cohort = simulate_cohort(200, 20, 12, seed=1)
    >>> cohort.truth.expected.shape
    (200, 190)
    """
    signed = measure == "pearson"
    _check(n_people, n_regions, n_phenotypes, n_sites, measure)
    for label, share in (("explained", explained), ("site_explained", site_explained), ("null_share", null_share)):
        if not 0 <= share < 1:
            raise ConnectomeError(f"{label} must be at least 0 and below 1, got {share}")
    for label, share, most in (("missing", missing, 0.5), ("backbone_spread", backbone_spread, 1.0), ("nonlinearity", nonlinearity, 1.0)):
        if not 0 <= share <= most:
            raise ConnectomeError(f"{label} must lie between 0 and {most:g}, got {share}")
    site_share = site_explained if n_sites > 1 else 0.0
    if explained + site_share >= 1:
        raise ConnectomeError(f"explained and site_explained must add up to less than 1, got {explained} and {site_explained}")
    if density is None:
        density = 1.0 if signed else 0.6
    if not 0 < density <= 1:
        raise ConnectomeError(f"density must be above 0 and at most 1, got {density}")
    if signed and density < 1:
        raise ConnectomeError(f"correlations have no absent edges, so density must be 1 for measure 'pearson', got {density}")
    brain, plan, mapping, residual, reference, sites, people, noise = np.random.default_rng(seed).spawn(8)
    if people_seed is not None:
        people, noise = np.random.default_rng(people_seed).spawn(8)[-2:]
    traits = choose_traits(n_phenotypes)
    if n_sites > 1:
        sizes = sites.uniform(1, 3, n_sites)
        traits = (*traits, site_trait(sizes / sizes.sum()))
    described = describe(traits)
    everybody = draw_people(traits, N_REFERENCE, reference)
    schema = PhenotypeSchema.fit(everybody, described)
    effects = draw_effects(schema, leave_gaps(everybody, traits, missing, reference), nonlinearity, null_share, plan)
    atlas = draw_atlas(n_regions, brain)
    world = _draw_world(atlas, effects, measure, density, explained + site_share, backbone_spread, brain, mapping, residual)
    world = _calibrate(world, explained, site_share)
    table = leave_gaps(draw_people(traits, n_people, people), traits, missing, people)
    scores = effects.scores(effects.encode(table)).astype(np.float32)
    weights = world.draw(scores, noise)
    arguments = {
        "n_people": n_people,
        "n_regions": n_regions,
        "n_phenotypes": n_phenotypes,
        "seed": seed,
        "people_seed": people_seed,
        "explained": explained,
        "density": density,
        "missing": missing,
        "n_sites": n_sites,
        "site_explained": site_share,
        "backbone_spread": backbone_spread,
        "nonlinearity": nonlinearity,
        "null_share": null_share,
    }
    return Cohort(
        weights,
        table,
        atlas,
        measure=measure,
        signed=signed,
        name=name,
        described=described,
        info={"licence": "CC0", "simulated": arguments},
        truth=Truth.of(world, scores, weights),
        check=False,
    )


def _check(n_people: int, n_regions: int, n_phenotypes: int, n_sites: int, measure: str) -> None:
    for what, number, least in (
        ("people", n_people, 2),
        ("regions", n_regions, 4),
        ("phenotypes (age and sex)", n_phenotypes, 2),
        ("site", n_sites, 1),
    ):
        if not isinstance(number, (int, np.integer)):
            raise ConnectomeError(f"expected a whole number of {what}, got {number!r}")
        if number < least:
            raise ConnectomeError(f"a simulated cohort needs at least {least} {what}, got {number}")
    if measure not in MEASURES:
        raise ConnectomeError(f"measure must be one of {', '.join(map(repr, MEASURES))}, got {measure!r}")


def _draw_world(
    atlas: Atlas,
    effects: Effects,
    measure: str,
    density: float,
    explained: float,
    backbone_spread: float,
    brain: np.random.Generator,
    mapping: np.random.Generator,
    residual: np.random.Generator,
) -> World:
    """A world whose effects have the right shape but not yet the right size."""
    signed = measure == "pearson"
    pattern = edge_pattern(atlas, signed, brain)
    uneven = np.exp(0.15 * brain.standard_normal(len(pattern)))
    floor: float | None = None
    if signed:
        baseline, spread = pattern, 0.17 * uneven
    else:
        rank = pattern.argsort().argsort() / max(len(pattern) - 1, 1)
        weak, strong = (0.5, 0.3) if density == 1 else (1.1, 0.3)
        spread = (weak + (strong - weak) * rank) * uneven  # strong edges differ less between people, on a logarithmic scale
        floor = float(np.log(2)) if density == 1 else 0.0
        baseline = _place(pattern, spread / np.sqrt(1 - explained), density, measure == "streamline_count")
    walk = random_walk(pattern)
    loadings, own = _draw_residuals(atlas, walk, residual)
    maps = draw_maps(len(effects.groups), atlas, walk, backbone_spread, mapping).astype(np.float64)
    maps += effects.everywhere[:, None]
    rows, columns = edge_indices(atlas.n_regions)
    gain = np.array([ASSOCIATION[system] for system in atlas.network])
    maps[[group == "cognition" for group in effects.groups]] *= np.sqrt(gain[rows] * gain[columns])
    maps *= spread * np.sqrt(effects.weight / np.diag(effects.covariance) / (maps**2).mean(1))[:, None]
    return World(
        atlas,
        effects,
        maps=maps.astype(np.float32),
        baseline=baseline.astype(np.float32),
        spread=spread.astype(np.float32),
        factors=(loadings * spread).astype(np.float32),
        own=(own * spread).astype(np.float32),
        floor=floor,
        whole=measure == "streamline_count",
    )


def _draw_residuals(
    atlas: Atlas, walk: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loadings (K, E) of edges on global factors, and what is left to each edge (E,), as parts of a unit standard deviation.

    Factors are smooth in space but do not follow the backbone, unlike effects that spread along it.
    """
    loadings = draw_maps(N_FACTORS, atlas, walk, 0.0, generator).astype(np.float64)
    loadings[0] = (loadings[0] + 0.7) / np.sqrt(1 + 0.7**2)  # a person's overall strength
    size = np.arange(1, N_FACTORS + 1) ** -0.5
    loadings *= np.sqrt(FACTOR_SHARE * size / size.sum())[:, None]
    loadings *= np.minimum(1, np.sqrt(MOST_SHARED / np.maximum((loadings**2).sum(0), 1e-12)))
    return loadings, np.sqrt(1 - (loadings**2).sum(0))


def _place(pattern: NDArray[np.float64], spread: NDArray[np.float64], density: float, whole: bool) -> NDArray[np.float64]:
    """Latent means (E,) with which this share of edges is present: the group's connectivity, shifted.

    Where that makes the strongest edges absurdly strong, differences between edges shrink.
    """

    def excess(offset: float) -> float:
        return float(presence(pattern + offset, spread, 0.0, whole).mean()) - density

    for _ in range(MOST_SHRINKING):
        if density == 1:  # cut off at one streamline, which hardly ever happens
            offset = float(np.log(2) + (4.5 * spread - pattern).max())
        else:
            reach = 12 * float(spread.max()) + float(np.abs(pattern).max())
            offset = float(brentq(excess, -reach, reach, xtol=1e-6))
        if (pattern + offset).max() <= STRONGEST:
            break
        pattern = 0.9 * pattern
    return pattern + offset


def _calibrate(world: World, explained: float, site_explained: float) -> World:
    """Scale effect maps so that the ceiling and each group's Shapley value are what they should be."""
    total, groups = explained + site_explained, np.array(world.effects.groups)
    if total == 0:
        return replace(world, maps=np.zeros_like(world.maps))
    target = _targets(set(world.effects.groups), explained / total)
    for _ in range(CALIBRATION_ROUNDS):
        values = world.shapley()
        sum_of_values = sum(values.values())
        size = np.sqrt(total / (1 - total) * (1 - world.ceiling) / world.ceiling)
        factor = np.array([np.sqrt(target[group] * sum_of_values / values[group]) if target[group] else 0 for group in groups])
        world = replace(world, maps=(world.maps * (size * factor)[:, None]).astype(np.float32))
    return world


def _targets(groups: set[str], explained: float) -> dict[str, float]:
    """Share of each group of phenotypes in the ceiling, given the share of all but site."""
    strong, weak = groups & {"age_sex", "body"}, groups & {"cognition", "lifestyle"}
    target = {"site": 1 - explained}
    for team, share in ((strong, 0.8 if weak else 1.0), (weak, 0.2)):
        for group in team:
            target[group] = explained * share * BUDGET[group] / sum(BUDGET[other] for other in team)
    return target
