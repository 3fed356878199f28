"""Integrated gradients by captum (extra ``attribution``); imported by the function that needs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from captum.attr import IntegratedGradients  # type: ignore[import-untyped]
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["captum_attributions"]


def captum_attributions(
    forward: Callable[..., Tensor], inputs: Tensor, baselines: Tensor, further: tuple[Tensor, ...], n_steps: int, rows: int
) -> NDArray[np.float64]:
    """Attributions, shaped as the inputs (n, P), of one number a row, by Gauss-Legendre quadrature.

    Parameters
    ----------
    forward : function of inputs (m, P) and of ``further`` tensors (m, ...), to (m,).
    inputs, baselines : (n, P) ends of the way that gradients are integrated along.
    further : what else the function takes, a row each.
    n_steps : points of the quadrature.
    rows : how many go through the function at once.
    """
    found = IntegratedGradients(forward).attribute(
        inputs,
        baselines=baselines,
        additional_forward_args=further,
        n_steps=n_steps,
        method="gausslegendre",
        internal_batch_size=rows,
    )
    attributions: NDArray[np.float64] = found.detach().double().numpy()
    return attributions
