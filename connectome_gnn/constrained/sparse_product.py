"""The product of a sparse weight matrix with dense activity, forward and back, in memory in proportion to the connections.

The gradient of a weight is the product of what its unit receives back and what its sender sent, taken at connections only
(``torch.sparse.sampled_addmm``): no (out, in) matrix is ever formed.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["SPARSE_DENSITY", "SPARSE_ENTRIES", "SPARSE_MEMORY", "sparse_is_faster", "sparse_product"]

SPARSE_DENSITY = 0.1
"""Share of connections up to which sparse compute is the faster, in layers of :data:`SPARSE_ENTRIES` or more
(benchmarks/constrained.py)."""

SPARSE_ENTRIES = 160_000
"""out_features x in_features from which sparse compute is the faster: 400 x 400."""

SPARSE_MEMORY = 0.05
"""Share of connections under which memory is in proportion to connections whatever the size; below 200 x 200 a step of training
then takes up to 0.1 ms longer than dense."""


def sparse_is_faster(n_connections: int, n_entries: int, device: torch.device) -> bool:
    """Whether a layer is computed on its connections alone rather than as a dense matrix.

    The crossover was measured on CPUs with one thread. On other devices, and where torch has no sparse kernels (no MKL), dense compute is
    the choice unless the user asks otherwise.
    """
    if device.type != "cpu" or not torch.backends.mkl.is_available():
        return False
    density = n_connections / n_entries
    return density < SPARSE_MEMORY or (density <= SPARSE_DENSITY and n_entries >= SPARSE_ENTRIES)


def sparse_product(inputs: Tensor, values: Tensor, pattern: tuple[Tensor, ...], shape: tuple[int, int]) -> Tensor:
    """``inputs @ W.T`` for a sparse W.

    Parameters
    ----------
    inputs : (..., in).
    values : (nnz,) weights of the connections, in the order of W's rows.
    pattern : ``crow`` (out + 1,) and ``col`` (nnz,) of W, ``crow`` (in + 1,) and ``col`` (nnz,) of its transpose, and ``order`` (nnz,),
        which takes values into the transpose's order.
    shape : (out, in).

    Returns
    -------
    outputs : (..., out), of the inputs' type. Types below single precision are computed in single precision.
    """
    _settle()
    kind = torch.promote_types(inputs.dtype, torch.float32)
    flat = inputs.reshape(-1, shape[1]).to(kind)
    # Sparse kernels know no half precision, and autocast would hand it to them.
    with torch.autocast(inputs.device.type, enabled=False) if torch.is_autocast_enabled(inputs.device.type) else nullcontext():
        out: Tensor = _SparseProduct.apply(flat, values.to(kind), pattern, shape)
    return out.to(inputs.dtype).reshape(*inputs.shape[:-1], shape[0])


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, values: Tensor, pattern: tuple[Tensor, ...], shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(inputs, values, *pattern)
        ctx.shape = shape
        crow, col = pattern[:2]
        return (_csr(crow, col, values, shape) @ inputs.t()).t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, values, crow, col, crow_t, col_t, order = ctx.saved_tensors
        n_out, n_in = ctx.shape
        to_inputs = to_values = None
        if torch.is_grad_enabled():  # asked for gradients of gradients: by operations that have them
            if ctx.needs_input_grad[0]:
                to_inputs = _SparseProduct.apply(grad, values[order], (crow_t, col_t, crow, col, order.argsort()), (n_in, n_out))
            if ctx.needs_input_grad[1]:
                rows = torch.arange(n_out, device=crow.device).repeat_interleave(crow.diff().long())
                to_values = (grad[:, rows] * inputs[:, col.long()]).sum(0)
            return to_inputs, to_values, None, None
        if ctx.needs_input_grad[0]:
            to_inputs = (_csr(crow_t, col_t, values[order], (n_in, n_out)) @ grad.t()).t()
        if ctx.needs_input_grad[1]:
            nothing = _csr(crow, col, torch.zeros_like(values), ctx.shape)
            to_values = torch.sparse.sampled_addmm(nothing, grad.t().contiguous(), inputs.contiguous()).values()
        return to_inputs, to_values, None, None


def _csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


@cache
def _settle() -> None:
    """Let torch say once, unheard, that its sparse tensors are in beta: it says so at the first of a process only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _csr(torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0), (1, 1))
