"""Fitting a generator under differential privacy: every number of the model is computed from noisy releases alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import chi2

from connectome_gnn.cohort import Cohort
from connectome_gnn.edges import to_matrices
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.closed_form import ClosedForm
from connectome_gnn.generation.directions import Directions
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.generation.features import AGE_SQUARED, KNOTS, SEX_BY_AGE, ProfileFeatures, age_and_sex
from connectome_gnn.generation.network import NetworkConfig
from connectome_gnn.generation.privacy import DifferentialPrivacy, Ledger
from connectome_gnn.generation.private_edges import released_edges
from connectome_gnn.generation.private_effects import PrivateEffects, feature_weights
from connectome_gnn.generation.private_modes import backbone_harmonics, edge_modes, edge_trends, geometric_patterns
from connectome_gnn.generation.private_residual import private_residual
from connectome_gnn.generation.private_schema import bounded_table, public_schema, released_schema
from connectome_gnn.generation.private_statistics import unit_weights
from connectome_gnn.generation.training_data import MIN_PEOPLE
from connectome_gnn.phenotypes import PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = ["check_private", "fit_private"]

PROFILES = 0.03
TAILS = 1.25
"""Profiles lie this much further out, squared, than normal ones would."""
NETWORK_COMPONENTS = 20
EFFECTS, LEAST_EFFECTS = 0.6, 0.1
WEAK, STRONG = 8.0, 35.0
"""People times mu per root of the number of edges, between which effects come to get their full share of the budget."""
PATTERNS = ((0.0, 5), (80.0, 13), (300.0, 20))
"""From which such strength on how many regional patterns are told apart."""


def check_private(privacy: DifferentialPrivacy, network: NetworkConfig | None, default: NetworkConfig, components_asked: bool) -> None:
    """Refuse what a private fit would not do.

    Raises
    ------
    ConnectomeError
        If a network is asked for that has no share of the budget, a share for a network that is left out, or a number of components.
    """
    if not isinstance(privacy, DifferentialPrivacy):
        raise ConnectomeError(f"privacy is a DifferentialPrivacy(epsilon=...), got {privacy!r}")
    if network is not None and network != default and privacy.network_share == 0:
        raise ConnectomeError(
            "with privacy a network costs a part of the budget: give DifferentialPrivacy(network_share=0.3), or leave network out"
        )
    if network is None and privacy.network_share > 0:
        raise ConnectomeError(f"network_share is {privacy.network_share:g} but network is None; give a network, or leave the share out")
    if components_asked:
        raise ConnectomeError(
            "with privacy there are no components of the people's own, so n_components cannot be chosen: the number of smooth patterns "
            "follows from the budget and the number of people; leave n_components out"
        )


def fit_private(model: ConnectomeGenerator, cohort: Cohort, privacy: DifferentialPrivacy, advance: Callable[..., None]) -> None:
    """Fit a generator so that its every number comes from a ledger's releases, or is publicly known.

    What is publicly known: atlas, measure, names of cohort and columns with their descriptions, ranges and levels, the number of
    people or families. The people are looked at through bounded sums alone; which path is used, how strong and how far, is read off
    those sums once they are noisy.

    Raises
    ------
    ConnectomeError
        If there are fewer than 20 people or families, or a column's range or levels are not publicly known.
    """
    if cohort.kind == "expected":
        raise ConnectomeError(f"cohort {cohort.name!r} holds expected connectomes, which are no people; fit on observed or sampled ones")
    weight, n_units = unit_weights(cohort.units())
    if n_units < MIN_PEOPLE:
        raise ConnectomeError(f"cohort {cohort.name!r} has {n_units} people or families; at least {MIN_PEOPLE} are needed to fit a model")
    budget = privacy.budget(n_units)
    ledger = Ledger(budget["mu"], privacy.noise_seed)
    closed_share = 1 - privacy.network_share
    model.atlas, model.measure, model.signed, model.scale = cohort.atlas, cohort.measure, cohort.signed, cohort.scale
    model.cohort_name, model.n_training = cohort.name, n_units

    schema = public_schema([str(name) for name in cohort.phenotypes.columns], cohort.described, privacy.bounds)
    model.described = {name: cohort.described[name] for name in schema.names if name in cohort.described}
    table = bounded_table(schema, cohort.phenotypes)
    model.schema = released_schema(schema, table, weight, ledger, closed_share * PROFILES)
    model.features = _features(model.schema)
    advance()

    strength = n_units * ledger.mu * np.sqrt(closed_share) / np.sqrt(cohort.n_edges)
    effects_share = EFFECTS * float(np.clip((strength - WEAK) / (STRONG - WEAK), LEAST_EFFECTS, 1))
    space = released_edges(cohort, weight, edge_trends(cohort.atlas), ledger, closed_share * (1 - PROFILES - effects_share))
    advance()

    used = np.flatnonzero(np.isfinite(model.features.scale))
    groups = _feature_groups(model.features, used)
    lengths = feature_weights(groups)
    small = np.flatnonzero(np.array(groups) == _small_group(model.features))
    modes = edge_modes(_patterns(space, cohort, model.messages, strength), space.kept)
    values = model.features.transform(model.schema.encode(table))[:, used] * lengths
    effects = PrivateEffects.fit(
        values, lengths, small, modes, space, cohort, weight, ledger, closed_share * effects_share, strength >= WEAK
    )
    advance()

    n_features = len(model.features.scale)
    centre, maps = np.zeros(n_features), np.zeros((n_features, int(space.kept.sum())), np.float32)
    centre[used], maps[used] = effects.centre / lengths, lengths[:, None] * effects.maps
    model.earned = effects.earned
    model.space = replace(space, basis=_orthonormal(effects.loadings))
    model.closed_form = ClosedForm(model.features, _no_directions(model.features), centre, maps, model.earned, model.space.basis)
    gram = effects.gram / np.outer(lengths, lengths)
    model.schema = _with_spread(model.schema, gram[: len(model.schema.columns), : len(model.schema.columns)])
    explained = np.einsum("fe,fe->e", effects.maps, effects.gram @ effects.maps)
    model.residual = private_residual(model.space, effects.loadings, explained, cohort.signed)
    model.members, model.gate = [], np.zeros(0)
    if model.network is not None:
        _fit_network(model, cohort, table, weight, n_units, ledger, privacy.network_share, advance)
    model.account = {
        **budget,
        "neighbours": "one person, or one family, in place of another; their number is public",
        "mechanism": "Gaussian, composed as Gaussian differential privacy",
        "noise": "operating system" if privacy.noise_seed is None else "a known seed: not private",
        "releases": ledger.entries,
    }


def _fit_network(
    model: ConnectomeGenerator,
    cohort: Cohort,
    table: pd.DataFrame,
    weight: NDArray[np.float64],
    n_units: int,
    ledger: Ledger,
    share: float,
    advance: Callable[..., None],
) -> None:
    """Train the network on what the closed form leaves of most people; the others decide whether it is used."""
    from connectome_gnn.generation.network_fit import NETWORK_LABEL
    from connectome_gnn.generation.private_network import private_gate, private_network, training_units

    if model.network is None or model.space.n_components == 0:
        return
    basis = model.space.basis[:NETWORK_COMPONENTS]
    # Their spread in the released model, not in the people.
    inside = model.residual.loadings[:, model.space.kept].astype(np.float64) @ basis.T
    unit = np.sqrt(np.maximum((inside**2).sum(0) + 1e-6, 1e-6)).astype(np.float32)
    encoded = model.schema.encode(table)
    design = model.closed_form.design(encoded)
    effect = model.closed_form.maps @ basis.T
    residual = np.empty((cohort.n_people, len(basis)))
    for part, values in model.space.standardised(cohort):
        residual[part] = np.nan_to_num(values @ basis.T - design[part] @ effect, posinf=0, neginf=0)
    task = model._task(unit)
    units = cohort.units()
    chosen = training_units(n_units, model.seed)
    network = private_network(task, model.network, encoded, residual, units, chosen, ledger, share, model.seed, advance)
    others = ~chosen[units]
    prediction = network.components(encoded)[others] / unit
    gate, gain = private_gate(prediction, residual[others] / unit, weight[others], n_units, ledger, share)
    if gate > 0:
        model.members, model.gate = [network], np.full(len(unit), gate)
    # Whitened gain back in variances of edges.
    model.earned.loc[NETWORK_LABEL] = [gain * float((unit.astype(np.float64) ** 2).mean()) / int(model.space.kept.sum()), gate]


def _features(schema: PhenotypeSchema) -> ProfileFeatures:
    """Phenotypes, the square of age and sex x age; statistics of derived features are those of a normal age, nobody's in particular."""
    age, sex = age_and_sex(schema)
    knots = tuple(map(float, ndtri(KNOTS))) if age else ()
    features = ProfileFeatures(schema, age, sex, knots, np.zeros(1), np.ones(1))
    bands, linear = np.array(features.bands), np.arange(len(features.bands)) < len(schema.columns)
    squared = (bands == AGE_SQUARED) & ~linear
    used = linear | squared | ((bands == SEX_BY_AGE) & ~linear)
    return replace(features, mean=np.where(squared, 1.0, 0.0), scale=np.where(used, 1.0, np.inf))


def _small_group(features: ProfileFeatures) -> str | None:
    """Group of age, else of sex."""
    named = features.age or features.sex
    return next((p.group for p in features.schema.phenotypes if p.name == named), None)


def _feature_groups(features: ProfileFeatures, used: NDArray[np.intp]) -> list[str]:
    """Group of phenotypes of each used feature; what is derived of age belongs to age's."""
    n_linear = len(features.schema.columns)
    return [features.bands[place] if place < n_linear else str(_small_group(features)) for place in used]


def _patterns(space: EdgeSpace, cohort: Cohort, messages: bool, strength: float) -> NDArray[np.float64]:
    """As many regional patterns, the smoothest first, as the budget can tell apart; messages add those of the released backbone."""
    patterns = geometric_patterns(cohort.atlas)
    patterns = patterns[:, np.abs(patterns).max(0) > 0]
    if messages:
        backbone = to_matrices(np.where(space.kept, np.abs(space.mean), 0).astype(np.float64))
        patterns = np.concatenate([patterns, backbone_harmonics(backbone)], 1)
    return patterns[:, : max(number for least, number in PATTERNS if strength >= least)]


def _no_directions(features: ProfileFeatures) -> Directions:
    """No supervised directions: learned from people's own rows, they would cost more than they bring."""
    columns = list(features.schema.columns)
    places = [columns.index(name) if name else None for name in (features.age, features.sex)]
    return Directions(np.zeros((len(columns), 0)), (), places[0], places[1], np.zeros(0), np.zeros(0), np.ones(0))


def _orthonormal(loadings: NDArray[np.float64]) -> NDArray[np.float32]:
    """The edge patterns that the factors span, orthonormal rows."""
    return np.linalg.svd(loadings, full_matrices=False)[2].astype(np.float32)


def _with_spread(schema: PhenotypeSchema, covariance: NDArray[np.float64]) -> PhenotypeSchema:
    """The schema with the covariance of its columns, and the squared distance that 99.9 % of normal profiles stay within."""
    return PhenotypeSchema(schema.phenotypes, covariance, TAILS * float(chi2.ppf(0.999, len(covariance))))
