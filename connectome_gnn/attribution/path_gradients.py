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

STEPS = 6
"""Points of the quadrature, exact for polynomials up to order 11; what is explained is close to one of order 4."""

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
    nodes, weights = quadrature(STEPS)
    found = np.zeros((*encoded.missing.shape, 2))
    varies = torch.tensor([not phenotype.constant for phenotype in model.schema.phenotypes])

    def coordinates(presence: Tensor, rows: slice) -> Tensor:
        known = path.design(values[rows] * presence[:, path.owner]) @ maps
        added = path.components(values[rows], missing[rows], presence)
        return known if added is None else known + added @ turn[: added.shape[1]]

    for rows in slices(len(found), PEOPLE_AT_ONCE):
        with torch.no_grad():
            full = coordinates(torch.ones(missing[rows].shape, dtype=path.dtype), rows)
        for node, weight in zip(nodes, weights, strict=True):
            presence = torch.where(varies, torch.full(missing[rows].shape, node, dtype=path.dtype), 1).requires_grad_()
            there = coordinates(presence, rows)
            turned = there.detach() @ gram
            for kind, people in enumerate((along[rows], full @ gram)):
                slope = torch.autograd.grad(there, presence, 2 * (people - turned), retain_graph=kind == 0)[0]
                found[rows, :, kind] += weight * (slope * varies).numpy()
    return found
