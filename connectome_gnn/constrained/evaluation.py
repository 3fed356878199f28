"""What a constraint costs and brings: task score, size, wiring cost, likeness to the brain, robustness to lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from connectome_gnn.constrained.cost import UnknownLength, wiring_cost
from connectome_gnn.constrained.effective import current
from connectome_gnn.constrained.lesions import lesion, lesion_regions
from connectome_gnn.constrained.linear import ConnectomeLinear
from connectome_gnn.constrained.network import ConnectomeConstrainedNetwork
from connectome_gnn.constrained.similarity import learned_connectivity, similarity_table
from connectome_gnn.constrained.targets import are_classes, read_values
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.progress import progress

__all__ = ["ConstraintEvaluation", "accuracy", "evaluate_constraints", "r2"]

Score = Callable[[NDArray, NDArray], float]
COLUMNS = ["measure", "layer", "value", "low", "high", "null", "null_mean", "null_low", "null_high", "p", "reason"]
LESIONED = (0.1, 0.2, 0.3, 0.5)
"""Shares of regions that are taken out at random."""


@dataclass(frozen=True, eq=False)
class ConstraintEvaluation:
    """What :func:`evaluate_constraints` found.

    Attributes
    ----------
    table : one row a measure (and layer, ``""`` for the whole model, and null): ``measure``, ``layer``, ``value``, ``low``, ``high`` (95 %
        interval: of the score, a bootstrap over cases; of random lesions, over draws), ``null``, ``null_mean``, ``null_low``,
        ``null_high``, ``p``, and ``reason`` where a number is undefined (NaN).
    lesions : one row a region: ``region``, ``score`` without it, ``drop`` from the whole model's. Empty where lesions make no sense.
    """

    table: pd.DataFrame
    lesions: pd.DataFrame

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of :attr:`table`."""
        return self.table.copy()

    def value(self, measure: str, layer: str = "", null: str = "") -> float:
        """One number of the table.

        Raises
        ------
        ConnectomeError
            If the table has no such row.
        """
        found = self.table.query("measure == @measure and layer == @layer and null == @null")
        if found.empty:
            raise ConnectomeError(f"no measure {measure!r} of layer {layer!r} against {null!r}; see the table's rows")
        return float(found["value"].iloc[0])


def evaluate_constraints(
    model: nn.Module,
    data: tuple[Any, Any],
    *,
    score: Score | None = None,
    distances: Any = None,
    n_nulls: int = 100,
    n_lesions: int = 20,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> ConstraintEvaluation:
    """Everything that tells what a model's wiring is worth.

    Parameters
    ----------
    model : a module with constrained layers; ``model(inputs)`` gives predictions (N, ...).
    data : (inputs, targets) held out from training: (N, ...) and (N,) or (N, outputs). Whole numbers are classes of a model that gives
        several scores; of a model with one output only where all are 0 or 1, and otherwise numbers, such as ages. Real numbers always
        are numbers.
    score : of (predictions, targets), higher is better; default :func:`accuracy` for classes, :func:`r2` for numbers.
    distances : as in :func:`wiring_cost`; one array is that of every constrained layer. Default the network's own. Without any, or where
        regions lack a place, there is no wiring cost of their connections and no distance-preserving null, and the table says why.
    n_nulls : null connectomes of each kind for every layer.
    n_lesions : random draws of regions at every share (10, 20, 30 and 50 %).
    n_bootstrap : resamples of cases for the score's interval.
    seed : of nulls, lesions and resamples.

    Returns
    -------
    evaluation : its ``table`` holds ``score``, ``parameters``, ``connections`` (weights that are not 0), ``nonzero share`` (of the weights
        of constrained and linear layers laid out as matrices), ``wiring cost``, ``similarity`` of learned to biological connectivity a
        layer against degree- and distance-preserving null connectomes, and the score after lesions.

    Raises
    ------
    ConnectomeError
        If inputs, targets and the model's answers do not fit together or a target is missing.
    """
    for name, number, least in (("n_nulls", n_nulls, 1), ("n_lesions", n_lesions, 1), ("n_bootstrap", n_bootstrap, 0), ("seed", seed, 0)):
        if number < least:
            raise ConnectomeError(f"expected {name} to be {least} or more, got {number}")
    inputs, targets = _data(data, model)
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        predicted = _predict(model, inputs)
        if not np.isfinite(predicted).all():
            wrong = int((~np.isfinite(predicted.reshape(len(predicted), -1))).any(1).sum())
            raise ConnectomeError(f"the model's answers to {wrong} of {len(predicted)} cases are NaN or infinite; look at those inputs")
        measure: Score = score or (accuracy if are_classes(targets, int(np.prod(predicted.shape[1:]))) else r2)
        whole = measure(predicted, targets)
        rows: list[dict[str, Any]] = [{"measure": "score", "value": whole, **_interval(measure, predicted, targets, n_bootstrap, seed)}]
        rows += _sizes(model)
        rows += _cost(model, distances)
        rows += _similarities(model, distances, n_nulls, seed)
        lesions, curve = _lesions(model, inputs, targets, measure, whole, n_lesions, seed)
    finally:
        for part, training in modes:
            part.training = training
    blank = {"layer": "", "null": "", "reason": ""}
    return ConstraintEvaluation(pd.DataFrame([{**blank, **row} for row in rows + curve], columns=COLUMNS), lesions)


def accuracy(predictions: NDArray, targets: NDArray) -> float:
    """Share of cases whose class has the highest score; of single numbers, whose sign says class 1."""
    if predictions.ndim == 1 or predictions.shape[-1] == 1:
        return float(((predictions.reshape(targets.shape) > 0) == targets).mean())
    return float((predictions.argmax(-1) == targets).mean())


def r2(predictions: NDArray, targets: NDArray) -> float:
    """1 - squared error over squared deviation from the mean of the targets, all outputs together; NaN for constant targets."""
    deviation = ((targets - targets.mean(0)) ** 2).sum()
    return float(1 - ((predictions.reshape(targets.shape) - targets) ** 2).sum() / deviation) if deviation > 0 else float("nan")


def _data(data: tuple[Any, Any], model: nn.Module) -> tuple[Tensor, NDArray]:
    try:
        inputs, targets = data
    except (TypeError, ValueError) as error:
        raise ConnectomeError("evaluate_constraints takes data as a pair (inputs, targets)") from error
    own = next(model.parameters(), torch.empty(0))
    try:
        given = inputs if isinstance(inputs, Tensor) else torch.tensor(np.asarray(inputs), dtype=own.dtype)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(f"inputs must be numbers (N, ...): {error}") from error
    return given.to(own.device), read_values(targets, len(given))


@torch.no_grad()
def _predict(model: nn.Module, inputs: Tensor) -> NDArray:
    answer = model(inputs)
    if not isinstance(answer, Tensor) or answer.shape[:1] != inputs.shape[:1]:
        came = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ConnectomeError(
            f"expected the model to give predictions ({len(inputs)}, ...), one a case, got {came}; wrap it in one that does"
        )
    return np.asarray(answer.double().cpu())


def _interval(measure: Score, predicted: NDArray, targets: NDArray, n_bootstrap: int, seed: int) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(n_bootstrap):
        cases = generator.integers(len(targets), size=len(targets))
        draws.append(measure(predicted[cases], targets[cases]))
    return _percentiles(draws)


def _percentiles(values: list[float]) -> dict[str, float]:
    known = [value for value in values if np.isfinite(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}


def _weighted(model: nn.Module) -> dict[str, ConnectomeLinear | nn.Linear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (ConnectomeLinear, nn.Linear))}


@torch.no_grad()
def _sizes(model: nn.Module) -> list[dict[str, Any]]:
    layers = _weighted(model)
    nonzero = {name: int((current(layer) != 0).sum()) for name, layer in layers.items()}
    entries = {name: layer.out_features * layer.in_features for name, layer in layers.items()}
    rows: list[dict[str, Any]] = [{"measure": "parameters", "value": sum(parameter.numel() for parameter in model.parameters())}]
    rows += [{"measure": "connections", "value": sum(nonzero.values())}]
    rows += [{"measure": "nonzero share", "value": sum(nonzero.values()) / max(sum(entries.values()), 1)}]
    return rows + [{"measure": "nonzero share", "layer": name, "value": nonzero[name] / entries[name]} for name in layers if name]


def _known_distances(model: nn.Module, distances: Any) -> Any:
    """Distances by name of the layer they are of; None where there are none."""
    if distances is None and isinstance(model, ConnectomeConstrainedNetwork):
        try:
            return model.distances()
        except ConnectomeError:
            return None
    if distances is None or isinstance(distances, Mapping):
        return distances
    constrained = [name for name, layer in model.named_modules() if isinstance(layer, ConnectomeLinear)]
    return dict.fromkeys(constrained, distances) if constrained else distances


@torch.no_grad()
def _cost(model: nn.Module, distances: Any) -> list[dict[str, Any]]:
    known = _known_distances(model, distances)
    if known is None:
        return [{"measure": "wiring cost", "value": np.nan, "reason": "distances are not known; give distances="}]
    try:
        return [{"measure": "wiring cost", "value": float(wiring_cost(model, known))}]
    except UnknownLength as error:
        return [{"measure": "wiring cost", "value": np.nan, "reason": str(error)}]


def _similarities(model: nn.Module, distances: Any, n_nulls: int, seed: int) -> list[dict[str, Any]]:
    known = _known_distances(model, distances)
    rows: list[dict[str, Any]] = []
    for name, layer in model.named_modules():
        if not isinstance(layer, ConnectomeLinear):
            continue
        biological = _connectome(layer)
        if biological is None:
            reason = "null connectomes are of symmetric connectivity between one set of regions"
            rows.append({"measure": "similarity", "layer": name, "value": np.nan, "reason": reason})
            continue
        between = None if known is None else known.get(name)
        lengths = (
            None if between is None else np.asarray(between.detach().cpu().numpy() if isinstance(between, Tensor) else between, dtype=float)
        )
        if lengths is not None and lengths.shape != biological.shape:
            lengths = None
        table = similarity_table(learned_connectivity(layer), biological, lengths, n_nulls, seed)
        rows += table.assign(layer=name).to_dict("records")  # type: ignore[arg-type]
    return rows


def _connectome(layer: ConnectomeLinear) -> NDArray[np.float64] | None:
    """The connectivity of a layer's regions (R, R), without its diagonal; None if it is not symmetric."""
    if layer.region_shape[0] != layer.region_shape[1]:
        return None
    rows, columns = (side.cpu().numpy() for side in layer.connections())
    if layer.assignment is not None:
        receiving, sending = (side.cpu().numpy() for side in layer.assignment)
        rows, columns = receiving[rows], sending[columns]
    strength = layer.connection_strength.double().cpu().numpy()
    # Units of a pair of regions all have that pair's strength: any one of them tells it.
    pairs, first = np.unique(rows * layer.region_shape[1] + columns, return_index=True)
    matrix = sparse.coo_array((strength[first], np.divmod(pairs, layer.region_shape[1])), shape=layer.region_shape).toarray()
    np.fill_diagonal(matrix, 0)
    return matrix if np.allclose(matrix, matrix.T) and matrix.any() else None


def _lesions(
    model: nn.Module, inputs: Tensor, targets: NDArray, measure: Score, whole: float, n_lesions: int, seed: int
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    columns = ["region", "score", "drop"]
    try:
        n_regions = lesion_regions(model)
    except ConnectomeError as error:
        return pd.DataFrame(columns=columns), [{"measure": "score after lesions", "value": np.nan, "reason": str(error)}]
    generator = np.random.default_rng(seed)
    draws = [(share, generator.choice(n_regions, max(round(share * n_regions), 1), False)) for share in LESIONED for _ in range(n_lesions)]
    lost = [[region] for region in range(n_regions)] + [regions.tolist() for _, regions in draws]
    scores = []
    with progress("Lesions", total=len(lost)) as advance:
        for regions in lost:
            with lesion(model, regions):
                scores.append(measure(_predict(model, inputs), targets))
            advance()
    one, many = scores[:n_regions], scores[n_regions:]
    single = pd.DataFrame({"region": range(n_regions), "score": one, "drop": [whole - score for score in one]}, columns=columns)
    rows: list[dict[str, Any]] = [{"measure": "score after one lesion", "value": float(np.mean(one)), **_percentiles(one)}]
    for share in LESIONED:
        after = [score for score, (size, _) in zip(many, draws, strict=True) if size == share]
        rows.append({"measure": f"score after lesions of {share:.0%}", "value": float(np.mean(after)), **_percentiles(after)})
    return single, rows
