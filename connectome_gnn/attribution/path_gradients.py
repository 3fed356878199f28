"""Integrated gradients of what a prediction explains of real people: importance by the path on which phenotypes appear together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.attribution.explained import Observed
from connectome_gnn.attribution.gradients import quadrature
from connectome_gnn.attribution.mean_path import MeanPath
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.phenotypes import Encoded
from connectome_gnn.slices import slices

__all__ = ["path_gradients"]

STEPS = (6, 12, 24, 48)
"""Points of the quadrature, the next number where those before leave more than ``RESIDUAL``: six are exact for polynomials up to order
11, and what is explained is close to one of order 4, but for the bends of its splines."""

RESIDUAL = 0.002
"""Share of what all phenotypes explain that parts may lack."""

LEAST = 1e-4
"""R2 below which what all phenotypes explain is as good as nothing."""

PEOPLE_AT_ONCE = 1024


def path_gradients(model: ConnectomeGenerator, encoded: Encoded, seen: Observed, predictor: Predictor) -> NDArray[np.float64]:
    """Each phenotype's part in what is explained of each person, as all of them come in together, from missing to known, (N, P, 2).

    Integrated gradients (Sundararajan, Taly & Yan 2017) of ``2 x.d - d.d`` along the presence of all phenotypes, from 0 to 1, by
    Gauss-Legendre quadrature: Aumann & Shapley's (1974) value of the same game whose Shapley values are taken elsewhere. Rows sum to what
    is explained with everything known less what is explained with everything missing. The second of each pair of numbers is what the
    first would be were people what the whole model says of them.
    """
    path = MeanPath(model, torch.float32)
    turn = path.basis @ torch.from_numpy(predictor.basis).T
    maps = path.maps @ path.basis.T @ turn
    along, gram = torch.from_numpy(seen.along.astype(np.float32)), torch.from_numpy(seen.gram.astype(np.float32))
    values, missing = path.tensors(encoded)
    people = list(slices(len(encoded.missing), PEOPLE_AT_ONCE))
    varies = torch.tensor([not phenotype.constant for phenotype in model.schema.phenotypes])

    def coordinates(presence: Tensor, rows: slice) -> Tensor:
        known = path.design(values[rows] * presence[:, path.owner]) @ maps
        added = path.components(values[rows], missing[rows], presence)
        return known if added is None else known + added @ turn[: added.shape[1]]

    def at(share: float, rows: slice) -> Tensor:
        return torch.where(varies, torch.full(missing[rows].shape, share, dtype=path.dtype), 1)

    with torch.no_grad():
        full, nothing = (torch.cat([coordinates(at(share, rows), rows) for rows in people]) for share in (1.0, 0.0))
    wanted = float((seen.gain(full.numpy()) - seen.gain(nothing.numpy())).sum())
    for steps in STEPS:
        found = np.zeros((*encoded.missing.shape, 2))
        for rows in people:
            for node, weight in zip(*quadrature(steps), strict=True):
                presence = at(node, rows).requires_grad_()
                there = coordinates(presence, rows)
                turned = there.detach() @ gram
                for kind, observed in enumerate((along[rows], full[rows] @ gram)):
                    slope = torch.autograd.grad(there, presence, 2 * (observed - turned), retain_graph=kind == 0)[0]
                    found[rows, :, kind] += weight * (slope * varies).numpy()
        if abs(found[..., 0].sum() - wanted) <= RESIDUAL * max(abs(wanted), LEAST * seen.total.sum()):
            break
    return found
