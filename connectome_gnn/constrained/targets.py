"""What a network's outputs stand for: scores of classes, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from connectome_gnn.errors import ConnectomeError

__all__ = ["are_classes", "read_values"]


def read_values(targets: Any, n_cases: int) -> NDArray:
    """Targets as an array, (N,) or (N, outputs), of whole or real numbers.

    Raises
    ------
    ConnectomeError
        If there is not one for each case, or one is no number or missing.
    """
    array = np.asarray(targets.detach().cpu().numpy() if isinstance(targets, Tensor) else targets)
    if array.ndim == 0 or len(array) != n_cases or n_cases == 0:
        raise ConnectomeError(
            f"expected a target for each of {n_cases} inputs, at least one, got {array.shape[0] if array.ndim else 'one'}"
        )
    if array.dtype.kind not in "iubf" or not np.isfinite(array).all():
        raise ConnectomeError("targets must be numbers without gaps; leave cases with a missing target out")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def are_classes(targets: NDArray, n_outputs: int) -> bool:
    """Whether targets (N,) or (N, outputs) are classes; numbers must be as many as a model's outputs.

    Whole numbers are classes of a model that scores several; of a model with one output, which says by its sign whether it is class 1,
    they are so only where all are 0 or 1, and otherwise numbers, such as ages. Real numbers never are classes.

    Raises
    ------
    ConnectomeError
        If whole numbers go beyond the scores, or numbers are not as many as the outputs.
    """
    if targets.ndim == 1 and targets.dtype.kind in "iub":
        if n_outputs > 1 and (targets.min() < 0 or targets.max() >= n_outputs):
            raise ConnectomeError(
                f"targets are whole numbers from {targets.min()} to {targets.max()}, which are no classes of a model with {n_outputs} "
                f"outputs (0 to {n_outputs - 1}); a number to be predicted needs a model with one output"
            )
        if n_outputs > 1 or (targets.min() >= 0 and targets.max() <= 1):
            return True
    n_targets = int(np.prod(targets.shape[1:]))
    if n_targets != n_outputs:
        raise ConnectomeError(f"expected as many numbers as the model's {n_outputs} outputs for each case, got {n_targets}")
    return False
