"""The layer wired by a connectome, against a dense layer with a mask."""

from __future__ import annotations

import copy
import io
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from scipy import sparse
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from connectome_gnn.constrained import ConnectomeLinear, dale_signs
from connectome_gnn.constrained.connectivity import blocks
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

OPTIMISERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.5}),
    "adam": (torch.optim.Adam, {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1}),
    "rprop": (torch.optim.Rprop, {"lr": 0.05}),
}


def random_connectivity(n_out: int = 13, n_in: int = 17, density: float = 0.3, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix = generator.lognormal(0, 1, (n_out, n_in)) * (generator.random((n_out, n_in)) < density)
    matrix[np.arange(n_out), generator.integers(n_in, size=n_out)] = 1.0  # no row without a connection
    return matrix


class MaskedLinear(nn.Module):
    """The rival: all weights, times a mask at every product."""

    def __init__(self, layer: ConnectomeLinear) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.dense_weight().detach().clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.register_buffer("mask", layer.mask().to(self.weight))

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs, self.weight * self.mask, self.bias)


def forbidden(layer: ConnectomeLinear, connectivity: np.ndarray) -> Tensor:
    """Weights where there is no connection, from what the layer does: its answers to unit vectors."""
    kind = next(layer.parameters()).dtype
    with torch.no_grad():
        silent = layer(torch.zeros(1, layer.in_features, dtype=kind))
        weight = (layer(torch.eye(layer.in_features, dtype=kind)) - silent).t()
    assert torch.equal(weight != 0, layer.dense_weight() != 0)
    return layer.dense_weight()[torch.from_numpy(connectivity == 0)]


@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 4), (0,)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_outputs_and_gradients_are_those_of_a_masked_dense_layer(
    compute: str, shape: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    layer = ConnectomeLinear(17, 13, random_connectivity(), compute=compute, seed=0, dtype=dtype)
    rival = MaskedLinear(layer)
    generator = torch.manual_seed(1)
    ours, theirs = (torch.randn(*shape, 17, dtype=dtype, generator=generator).requires_grad_() for _ in range(2))
    theirs = ours.detach().clone().requires_grad_()
    upstream = torch.randn(*shape, 13, dtype=dtype, generator=generator)
    layer(ours).backward(upstream)
    rival(theirs).backward(upstream)
    torch.testing.assert_close(layer(ours), rival(theirs), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(layer.bias.grad, rival.bias.grad, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(layer.weight.grad, rival.weight.grad[layer.connections()], atol=tolerance, rtol=tolerance)
    assert (rival.weight.grad[~layer.mask()] == 0).all()


def test_the_sparse_gradient_is_that_of_finite_differences() -> None:
    layer = ConnectomeLinear(6, 5, random_connectivity(5, 6), compute="sparse", seed=0, dtype=torch.float64)
    inputs = torch.randn(3, 6, dtype=torch.float64, generator=torch.manual_seed(0)).requires_grad_()

    def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(product, (inputs, layer.weight, layer.bias))


@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_there_are_as_many_weights_as_connections(compute: str) -> None:
    connectivity = random_connectivity()
    layer = ConnectomeLinear(17, 13, connectivity, compute=compute)
    assert sum(parameter.numel() for parameter in layer.parameters()) == (connectivity != 0).sum() + 13
    assert (
        sum(p.numel() for p in ConnectomeLinear(17, 13, connectivity, bias=False, compute=compute).parameters())
        == (connectivity != 0).sum()
    )
    assert layer.density == pytest.approx((connectivity != 0).mean())


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize("half", [False, True])
def test_forbidden_weights_stay_zero_under_any_optimiser(name: str, compute: str, half: bool) -> None:
    connectivity = random_connectivity()
    layer = ConnectomeLinear(17, 13, connectivity, compute=compute, seed=0)
    start = layer.weight.detach().clone()
    kind, options = OPTIMISERS[name]
    optimiser = kind(layer.parameters(), **options)
    generator = torch.manual_seed(0)
    for _ in range(5):
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer = layer(torch.randn(8, 17, generator=generator))
            assert answer.dtype == (torch.bfloat16 if half else torch.float32)
            loss = (answer.float() - 1).pow(2).mean()
        loss.backward()
        optimiser.step()
    assert (layer.weight != start).all()
    assert (forbidden(layer, connectivity) == 0).all()


def test_training_follows_the_masked_dense_layer() -> None:
    layer = ConnectomeLinear(17, 13, random_connectivity(), compute="sparse", seed=0, dtype=torch.float64)
    rival = MaskedLinear(layer)
    for model in (layer, rival):
        generator = torch.manual_seed(2)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(10):
            optimiser.zero_grad()
            (model(torch.randn(8, 17, dtype=torch.float64, generator=generator)) - 1).pow(2).mean().backward()
            optimiser.step()
    torch.testing.assert_close(layer.dense_weight(), rival.weight * rival.mask, atol=1e-10, rtol=0)


@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_copies_and_states_are_equal_and_forbid_the_same(compute: str, tmp_path: Path) -> None:
    connectivity = random_connectivity()
    layer = ConnectomeLinear(17, 13, connectivity, compute=compute, seed=0)
    inputs = torch.randn(4, 17, generator=torch.manual_seed(0))
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other = ConnectomeLinear(17, 13, connectivity, compute=compute, seed=1)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    whole = io.BytesIO()
    torch.save(layer, whole)
    whole.seek(0)
    copies = [other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(whole, weights_only=False)]
    for one in copies:
        assert torch.equal(one(inputs), layer(inputs))
        one(inputs).sum().backward()
        torch.optim.SGD(one.parameters(), lr=1.0, weight_decay=0.5).step()
        assert (forbidden(one, connectivity) == 0).all()
        assert not torch.equal(one(inputs), layer(inputs))


def test_a_state_of_other_connections_brings_them_along() -> None:
    connectivity = random_connectivity()
    turned = connectivity[::-1].copy()
    layer, other = (ConnectomeLinear(17, 13, matrix, "soft", compute="auto", seed=0) for matrix in (connectivity, turned))
    hard, other_hard = (ConnectomeLinear(17, 13, matrix, compute="sparse", seed=seed) for seed, matrix in enumerate((connectivity, turned)))
    other.load_state_dict(layer.state_dict())
    other_hard.load_state_dict(hard.state_dict())
    inputs = torch.randn(4, 17, generator=torch.manual_seed(0), requires_grad=True)
    assert torch.equal(other_hard.mask(), torch.from_numpy(connectivity != 0))
    mine, theirs = (torch.autograd.grad(one(inputs).pow(2).sum(), inputs)[0] for one in (hard, other_hard))
    assert torch.equal(mine, theirs)
    with torch.no_grad():
        layer.weight.fill_(1)
        other.weight.fill_(1)
    assert layer.penalty() == other.penalty() > 0
    fewer = connectivity * (connectivity < np.median(connectivity[connectivity > 0]))
    fewer[:, 0] = 1
    with pytest.raises(RuntimeError, match="build the layer with the connectivity of the state"):
        hard.load_state_dict(ConnectomeLinear(17, 13, fewer).state_dict())
    assert torch.equal(hard(inputs), other_hard(inputs))  # nothing of it was taken over


@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(compute: str, dtype: torch.dtype) -> None:
    connectivity = random_connectivity()
    layer = ConnectomeLinear(17, 13, connectivity, compute=compute, seed=0).to(dtype)
    inputs = torch.randn(4, 17, generator=torch.manual_seed(0)).to(dtype)
    answer = layer(inputs)
    assert answer.dtype == dtype
    expected = inputs.double() @ layer.dense_weight().double().t() + layer.bias.double()
    torch.testing.assert_close(answer.double(), expected, atol=0.05, rtol=0.02)
    answer.float().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.5, weight_decay=0.1).step()
    assert (layer.dense_weight()[torch.from_numpy(connectivity == 0)] == 0).all()


def both_ways(seed: int) -> nn.Sequential:
    connectivity = random_connectivity()
    return nn.Sequential(
        ConnectomeLinear(17, 13, connectivity, compute="sparse", seed=seed),
        ConnectomeLinear(13, 17, connectivity.T + np.eye(17, 13), compute="dense", seed=seed),
    )


def train_one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = both_ways(seed=0)
    wrapped = DistributedDataParallel(model)
    optimiser = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    inputs = torch.randn(8, 17, generator=torch.manual_seed(0))[4 * rank : 4 * rank + 4]
    for _ in range(3):
        optimiser.zero_grad()
        (wrapped(inputs) - 1).pow(2).mean().backward()
        optimiser.step()
    torch.save(model.state_dict(), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def test_training_in_two_processes_is_training_in_one(tmp_path: Path) -> None:
    # Both are forked from a server of one thread that has imported everything once.
    mp.get_context("forkserver").set_forkserver_preload(["connectome_gnn.constrained"])
    mp.start_processes(train_one_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    alone = both_ways(seed=0)
    optimiser = torch.optim.SGD(alone.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    inputs = torch.randn(8, 17, generator=torch.manual_seed(0))
    for _ in range(3):
        optimiser.zero_grad()
        (alone(inputs) - 1).pow(2).mean().backward()
        optimiser.step()
    for rank in (0, 1):
        model = both_ways(seed=5)
        model.load_state_dict(torch.load(tmp_path / f"rank{rank}.pt", weights_only=True))
        for layer, expected in zip(model, alone, strict=True):
            torch.testing.assert_close(layer.dense_weight(), expected.dense_weight(), atol=1e-6, rtol=0)
            assert (forbidden(layer, layer.mask().numpy()) == 0).all()


class Largest(TorchDispatchMode):
    """The most bytes that any operation gave back in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(one, Tensor):
                parts = [one] if one.layout == torch.strided else [one.values()]
                self.bytes = max(self.bytes, *(part.numel() * part.element_size() for part in parts))
        return out


@pytest.mark.parametrize("density", [0.002, 0.045])
@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("signed", [False, True])
def test_memory_is_in_proportion_to_connections_under_five_per_cent(density: float, units: int, signed: bool) -> None:
    """What torch and numpy take to build, train, copy and save a layer, some of it with two units a region."""
    regions, batch = 1000 // units, 4
    n = regions * units
    pattern = (sparse.random_array((regions, regions), density=density, rng=np.random.default_rng(0)) + sparse.eye_array(regions)).tocsr()
    options: dict[str, Any] = {"assignment": None if units == 1 else "blocks", "signs": dale_signs(n) if signed else None, "seed": 0}

    def trained() -> ConnectomeLinear:
        layer = ConnectomeLinear(n, n, pattern, **options)
        optimiser = torch.optim.AdamW(layer.parameters(), lr=0.01)
        layer(torch.ones(batch, n, requires_grad=True)).sum().backward()
        optimiser.step()
        copy.deepcopy(layer).load_state_dict(layer.state_dict())
        return layer

    trained()  # what is imported the first time is no part of it
    tracemalloc.start()
    with Largest() as seen:
        layer = trained()
    of_numpy = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "compute=sparse" in repr(layer)
    assert seen.bytes <= 8 * max(layer.n_connections, batch * n) < n * n / 2
    assert of_numpy <= 100 * (layer.n_connections + n)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in [*layer.parameters(), *layer.buffers()])
    assert kept <= 36 * (layer.n_connections + n)
    with Largest() as dense:
        ConnectomeLinear(n, n, pattern, compute="dense", **options)(torch.ones(batch, n))
    assert dense.bytes >= 4 * n * n


def test_which_way_is_computed_follows_size_and_density() -> None:
    def chosen(n: int, density: float, **options: Any) -> bool:
        return ConnectomeLinear(n, n, random_connectivity(n, n, density), **options).sparse

    assert chosen(60, 0.01)  # for memory
    assert not chosen(60, 0.08)
    assert chosen(420, 0.08)
    assert not chosen(420, 0.15)
    assert chosen(60, 0.5, compute="sparse")
    assert not chosen(420, 0.01, compute="dense")
    assert not chosen(420, 0.01, constraint="soft")


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.tensor, sparse.csr_matrix, sparse.coo_array, pd.DataFrame, lambda m: torch.tensor(m).to_sparse()]
)
def test_connectivity_may_be_any_matrix(kind: Any) -> None:
    connectivity = random_connectivity()
    assert torch.equal(ConnectomeLinear(17, 13, kind(connectivity)).mask(), torch.from_numpy(connectivity != 0))


def test_units_are_connected_as_their_regions_are() -> None:
    connectivity = random_connectivity(3, 4, seed=3)
    layer = ConnectomeLinear(8, 9, connectivity, assignment="blocks", seed=0)
    assert torch.equal(layer.mask(), torch.from_numpy(np.kron(connectivity, np.ones((3, 2))) != 0))
    out, back = np.array([2, 0, 0, 1, 2]), np.array([3, 3, 0, 1, 2, 1])
    given = ConnectomeLinear(6, 5, connectivity, assignment=(out, back))
    for i, j in np.ndindex(5, 6):
        assert bool(given.mask()[i, j]) == bool(connectivity[out[i], back[j]])
    assert torch.allclose(given.connection_strength.double(), torch.from_numpy(connectivity[np.ix_(out, back)][given.mask().numpy()]))
    chain = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0.0]])  # region 0 hears 1, 1 hears 2, 2 hears 0
    assert torch.equal(ConnectomeLinear(5, 5, chain, assignment=out).mask(), torch.from_numpy(chain[np.ix_(out, out)] != 0))
    square = ConnectomeLinear(5, 5, np.ones((3, 3)) - np.eye(3), assignment=out)
    assert not square.mask()[1, 2]  # two units of one region, whose diagonal is 0
    half = ConnectomeLinear(4, 6, connectivity, assignment=("blocks", None))
    assert torch.equal(half.mask(), torch.from_numpy(np.repeat(connectivity, 2, 0) != 0))
    assert np.bincount(blocks(11, 4)).tolist() == [3, 3, 3, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connectivity": np.zeros((13, 17))}, "wholly zero"),
        ({"connectivity": np.ones((17, 13))}, "say which unit belongs to which region"),
        ({"connectivity": np.ones(17)}, "must be a matrix"),
        ({"connectivity": np.ones((13, 17, 1))}, "must be a matrix"),
        ({"connectivity": "connectome"}, "matrix of numbers"),
        ({"connectivity": np.where(np.eye(13, 17), np.nan, 1)}, "got nan in row 0, column 0"),
        ({"connectivity": np.full((13, 17), np.inf)}, "must be finite"),
        ({"connectivity": np.ones((20, 20)), "assignment": "blocks"}, "cannot be dealt out"),
        ({"connectivity": np.ones((2, 2)), "assignment": (np.arange(13), np.zeros(17, int))}, "names regions 0 to 12"),
        ({"connectivity": np.ones((2, 2)), "assignment": (np.zeros(13, int), np.zeros(16, int))}, "for each of 17 units"),
        ({"connectivity": np.ones((2, 2)), "assignment": (np.zeros(13, int), None)}, "are not the 2 regions"),
        ({"connectivity": np.ones((2, 2)), "assignment": "image"}, '"blocks" or arrays'),
        ({"connectivity": np.eye(2), "assignment": (np.zeros(13, int), np.ones(17, int))}, "no connection between them"),
        ({"constraint": "tight"}, "constraint is one of"),
        ({"initialise": "zeros"}, "initialise is one of"),
        ({"compute": "fast"}, "compute is one of"),
        ({"signs": np.zeros(17)}, "must be \\+1 or -1"),
        ({"signs": np.ones(13)}, "each of 17 sending units"),
        ({"signs": ["up"] * 17}, "\\+1 or -1 for each of 17"),
        ({"connectivity": np.ones((13, 17)) * 1j}, "real numbers"),
        ({"connectivity": torch.ones(13, 17) * 1j}, "real numbers"),
        ({"connectivity": np.ones((2, 2)), "assignment": [[0] * 13, [0] * 17]}, "a tuple \\(receiving, sending\\)"),
        ({"strength": -1}, "0 or more"),
        ({"in_features": 0}, "in_features"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        ConnectomeLinear(**{"in_features": 17, "out_features": 13, "connectivity": np.ones((13, 17)), **arguments})


def test_a_unit_that_hears_nothing_is_named_and_gives_its_bias() -> None:
    connectivity = random_connectivity()
    connectivity[[2, 5]] = 0
    for compute in ("sparse", "dense"):
        with pytest.warns(ConnectomeWarning, match="2 of 13 receiving units have no connection \\(rows 2, 5\\)"):
            layer = ConnectomeLinear(17, 13, connectivity, compute=compute)
        assert torch.equal(layer(torch.randn(3, 17))[:, [2, 5]], layer.bias[[2, 5]].expand(3, 2))
        assert layer.bias.isfinite().all()
    with pytest.raises(ConnectomeError, match="expected inputs of shape"):
        layer(torch.ones(3, 13))


@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_inputs_of_another_type_are_refused_on_either_path(compute: str, dtype: torch.dtype) -> None:
    layer = ConnectomeLinear(17, 13, random_connectivity(), compute=compute, seed=0)
    with pytest.raises(ConnectomeError, match="of the layer's type, torch.float32"):
        layer(torch.ones(2, 17, dtype=dtype))


def test_the_callers_arrays_are_copied() -> None:
    connectivity, signs = random_connectivity(), dale_signs(17)
    for array in (connectivity, signs):
        array.flags.writeable = False
    layer = ConnectomeLinear(17, 13, connectivity, signs=signs, dtype=torch.float64)
    layer.signs.mul_(2)
    layer.connection_strength.mul_(2)
    assert set(np.unique(signs)) == {-1, 1} and np.array_equal(connectivity, random_connectivity())


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("constraint", ["hard", "soft", "init"])
def test_signs_are_kept_by_any_optimiser(name: str, constraint: str) -> None:
    signs = dale_signs(17, 0.3, seed=1)
    layer = ConnectomeLinear(17, 13, random_connectivity(), constraint, signs=signs, seed=0)
    kind, options = OPTIMISERS[name]
    optimiser = kind(layer.parameters(), **{**options, "lr": 0.3})
    crossed = False
    for _ in range(10):
        optimiser.zero_grad()
        (layer(torch.randn(8, 17)) - 1).pow(2).mean().backward()
        optimiser.step()
        crossed |= bool((layer.weight < 0).any())
        assert (layer.dense_weight() * torch.from_numpy(signs) >= 0).all()
    assert crossed  # magnitudes went through 0, and signs held
    assert (layer.dense_weight() != 0).sum() == (layer.n_connections if constraint == "hard" else 13 * 17)


def test_signs_of_regions_are_their_units() -> None:
    layer = ConnectomeLinear(6, 6, np.ones((3, 3)), assignment="blocks", signs=[1, -1, 1], seed=0)
    assert torch.equal(layer.dense_weight().sign()[0], torch.tensor([1.0, 1, -1, -1, 1, 1]))
    assert (dale_signs(10, 0.2) == -1).sum() == 2
    with pytest.raises(ConnectomeError, match="share of inhibitory"):
        dale_signs(10, 2)


def test_a_soft_layer_pays_off_the_connectome_only() -> None:
    connectivity = np.array([[0, 2.0], [1.0, 0]])
    layer = ConnectomeLinear(2, 2, connectivity, "soft", strength=0.5, seed=0)
    assert layer.weight.shape == (2, 2)
    assert layer.penalty() == 0  # it starts on the connectome
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 7.0], [9.0, -4.0]]))
    assert float(layer.penalty().detach()) == 0.5 * (9 + 16)
    layer.penalty().backward()
    assert torch.equal(layer.weight.grad, torch.tensor([[3.0, 0], [0, -4.0]]))
    graded = ConnectomeLinear(2, 2, connectivity, "soft", strength=0.5, graded=True, seed=0)
    graded.load_state_dict(layer.state_dict())
    assert float(graded.penalty().detach()) == 0.5 * (9 + 16 + 0.5 * 81)
    assert ConnectomeLinear(2, 2, connectivity, "init").penalty() == 0
    assert ConnectomeLinear(2, 2, connectivity).penalty() == 0


def test_init_is_the_start_only() -> None:
    connectivity = random_connectivity()
    layer = ConnectomeLinear(17, 13, connectivity, "init", seed=0)
    assert torch.equal(layer.dense_weight() != 0, torch.from_numpy(connectivity != 0))
    layer(torch.randn(8, 17)).pow(2).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert (layer.dense_weight() != 0).all()


def test_initial_weights_have_the_same_variance_whatever_the_connections() -> None:
    connectivity = random_connectivity(200, 300, 0.2)
    inputs = torch.randn(500, 300, generator=torch.manual_seed(0))
    spreads = {}
    for initialise in ("uniform", "scaled", "connectome"):
        layer = ConnectomeLinear(300, 200, connectivity, bias=False, initialise=initialise, seed=0)
        spreads[initialise] = float(layer(inputs).detach().var())
    assert spreads == pytest.approx(dict.fromkeys(spreads, 1 / 3), rel=0.15)
    weight = layer.dense_weight().detach().double().numpy()
    assert np.allclose(weight / weight[0, connectivity[0] > 0][0], connectivity / connectivity[0, connectivity[0] > 0][0])
    scaled = ConnectomeLinear(300, 200, connectivity, initialise="scaled", seed=0).dense_weight().abs()
    strong = torch.from_numpy(connectivity > 3)
    assert scaled[strong].mean() > 2 * scaled[torch.from_numpy((connectivity > 0) & (connectivity < 1))].mean()


def test_seeds_and_what_is_printed() -> None:
    connectivity = random_connectivity()
    first, second, third = (ConnectomeLinear(17, 13, connectivity, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert not torch.equal(first.weight, third.weight)
    torch.manual_seed(0)
    drawn = ConnectomeLinear(17, 13, connectivity).weight
    torch.manual_seed(0)
    assert torch.equal(drawn, ConnectomeLinear(17, 13, connectivity).weight)
    assert f"constraint=hard, connections={first.n_connections}, density={first.density:.3g}" in repr(first)
    assert "signs=kept" in repr(ConnectomeLinear(17, 13, connectivity, signs=np.ones(17)))


def test_gradients_of_gradients_through_sparse_compute():
    layer = ConnectomeLinear(
        5, 4, np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]), "hard", compute="sparse", seed=0
    )
    layer = layer.double()
    inputs = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda some: layer(some), (inputs,))
    penalty = torch.autograd.grad(layer(inputs).square().sum(), inputs, create_graph=True)[0].square().sum()
    penalty.backward()
    dense = layer.dense_weight().detach().requires_grad_()
    expected = torch.autograd.grad((torch.nn.functional.linear(inputs, dense, layer.bias)).square().sum(), inputs, create_graph=True)[0]
    expected = torch.autograd.grad(expected.square().sum(), dense)[0]
    rows, columns = layer.connections()
    torch.testing.assert_close(layer.weight.grad, expected[rows, columns])


def test_a_state_of_another_shape_is_refused_and_nothing_taken_over():
    wide, tall = np.zeros((3, 10)), np.zeros((10, 3))
    wide[0], tall[:, 0] = 1, 1
    with pytest.warns(ConnectomeWarning):
        layer, other = ConnectomeLinear(10, 3, wide, "hard", seed=0), ConnectomeLinear(3, 10, tall, "hard", seed=1)
    before = layer.weight.detach().clone()
    with pytest.raises(RuntimeError, match="size mismatch for crow_indices"):
        layer.load_state_dict(other.state_dict())
    assert torch.equal(layer.weight, before) and layer(torch.ones(1, 10)).shape == (1, 3)
