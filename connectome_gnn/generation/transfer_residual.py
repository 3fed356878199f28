"""Transfer of how people differ around the mean: a source's dependence between edges, as far as it makes people left out more likely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.generation.edge_space import EXACT_PEOPLE, EdgeSpace
from connectome_gnn.generation.likelihood import log_density
from connectome_gnn.generation.residual import ResidualModel, extremeness_of
from connectome_gnn.generation.spread import Spread
from connectome_gnn.generation.training_data import TrainingData
from connectome_gnn.splits import Folds

__all__ = ["blended", "fit_blend"]

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def blended(own: ResidualModel, source: ResidualModel, share: float) -> ResidualModel:
    """A cohort's own residual model with a share of another's dependence between edges.

    Every edge keeps its distribution, and the variance around the mean that it has in the cohort; of that, ``share`` is correlated as
    in the source. The source's factors are as wide in everybody.
    """
    if share == 0:
        return own
    left = (own.loadings**2).sum(0) + own.noise**2
    theirs = (source.loadings**2).sum(0) + source.noise**2
    unit = np.sqrt(np.divide(left, theirs, out=np.zeros_like(left), where=theirs > 0))
    noise = np.where(theirs > 0, source.noise * unit, np.sqrt(left))  # an edge that the source has in nobody, or everybody, is on its own
    parts = [np.sqrt(share) * source.loadings * unit]
    factors = [np.zeros((1 + len(own.spread.columns), len(source.loadings)))]
    if share < 1:
        parts.insert(0, np.sqrt(1 - share) * own.loadings)
        factors.insert(0, own.spread.factors)
    return replace(
        own,
        loadings=np.concatenate(parts).astype(np.float32),
        noise=np.sqrt((1 - share) * own.noise**2 + share * noise**2).astype(np.float32),
        spread=Spread(own.spread.columns, own.spread.own, np.concatenate(factors, 1)),
    )


def fit_blend(
    own: ResidualModel,
    source: ResidualModel,
    space: EdgeSpace,
    data: TrainingData,
    residual: NDArray,
    folds: Folds,
    *,
    seed: int,
) -> tuple[ResidualModel, float]:
    """Take over as much of a source's dependence between edges as makes people left out most likely; up to 600 people, none beyond.

    Parameters
    ----------
    own : learned from all the people.
    space, data : of the people.
    residual : (n, K) what the mean leaves of each person's components, cross-fitted.
    folds : of the people, without each of which their residual model is learned anew.
    seed : of the draws.

    Returns
    -------
    model, share : the blend, and the source's share in it.
    """
    cohort, scores = data.cohort, data.scores
    units = cohort.units()
    if cohort.n_people > EXACT_PEOPLE or min(len(np.unique(units[rows])) for rows, _ in folds) < 2:
        return own, 0.0  # one family alone has nobody to leave out
    components = np.asarray(scores - residual, np.float64)
    likely, without = np.zeros(len(SHARES)), []
    for rows, held in folds:
        others = ResidualModel.fit(space, cohort.take(rows), residual[rows], seed=seed, scores=scores[rows], baseline=False)
        latent = others.mean(components[held].astype(np.float32) @ space.basis, space.kept)
        values = cohort.scale.forward(cohort.read(held))
        likely += [log_density(blended(others, source, share), values, latent).sum() for share in SHARES]
        without.append((held, others))
    share = SHARES[int(likely.argmax())]
    if share == 0:
        return own, 0.0
    model = blended(own, source, share)
    left_out = ((held, blended(others, source, share)) for held, others in without)
    generator = np.random.default_rng(seed)
    return replace(model, extremeness=extremeness_of(model, left_out, space, cohort, components, data.values, generator)), share
