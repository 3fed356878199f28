"""Conditional flow matching: a vector field that carries Gaussian noise to data, class by class, and the density it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["FlowConfig", "VectorField", "train_field"]

VALIDATION_DRAWS = 32
WARM_UP = 0.05


@dataclass(frozen=True)
class FlowConfig:
    """Size and training of the flow.

    Parameters
    ----------
    hidden : units of the vector field's hidden layer.
    epochs, batch_size, learning_rate, weight_decay : of AdamW with a one-cycle schedule.
    patience : epochs without improvement on the validation people that end training.
    steps : Runge-Kutta steps from noise to data.
    """

    hidden: int = 512
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    patience: int = 40
    steps: int = 12


class VectorField(nn.Module):
    """A vector field on (x, t, class) with one hidden layer, 0 everywhere when it starts.

    With one hidden layer the divergence is a weighted sum of the activations' derivatives: exact in any dimension at the field's own price.

    Parameters
    ----------
    n_components : dimension K.
    n_classes : number of classes C.
    config : its size.
    """

    def __init__(self, n_components: int, n_classes: int, config: FlowConfig) -> None:
        super().__init__()
        self.n_classes, self.steps = n_classes, config.steps
        self.inner = nn.Linear(n_components + 1 + n_classes, config.hidden)
        self.outer = nn.Linear(config.hidden, n_components)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Velocity (B, K) at x (B, K), times t (B,) and classes (B,)."""
        return self.outer(nn.functional.silu(self._inner(x, t, classes)))

    def with_divergence(self, x: Tensor, t: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity (B, K) and its divergence (B,)."""
        inner = self._inner(x, t, classes)
        gate = torch.sigmoid(inner)
        along = (self.outer.weight * self.inner.weight[:, : x.shape[1]].T).sum(0)
        return self.outer(inner * gate), (gate * (1 + inner * (1 - gate))) @ along

    def _inner(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        return self.inner(torch.cat([x, t[:, None].to(x), nn.functional.one_hot(classes, self.n_classes).to(x)], 1))

    @torch.no_grad()
    def transport(self, noise: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Points (B, K) that standard normal noise (B, K) of some classes (B,) is carried to."""
        return self._integrate(torch.from_numpy(noise), torch.from_numpy(classes), 0.0, 1.0)[0].numpy()

    @torch.no_grad()
    def log_density(self, points: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Log density (B,) in nats at points (B, K) of classes (B,).

        The instantaneous change of variables (Chen et al. 2018, NeurIPS, theorem 1): the points are carried back to the noise they came
        from, and the divergence along the way is added up.
        """
        noise, gained = self._integrate(torch.from_numpy(points), torch.from_numpy(classes), 1.0, 0.0)
        return (gained - 0.5 * (noise**2).sum(1) - 0.5 * points.shape[1] * log(2 * pi)).numpy()

    def _integrate(self, x: Tensor, classes: Tensor, start: float, end: float) -> tuple[Tensor, Tensor]:
        """Where points end up, (B, K), and the integral of the divergence along their paths, (B,); the classical Runge-Kutta method."""
        step = (end - start) / self.steps
        total = torch.zeros(len(x), dtype=x.dtype)

        def slope(at: Tensor, t: float) -> tuple[Tensor, Tensor]:
            return self.with_divergence(at, torch.full((len(at),), t, dtype=at.dtype), classes)

        for number in range(self.steps):
            t = start + number * step
            first, a = slope(x, t)
            second, b = slope(x + step / 2 * first, t + step / 2)
            third, c = slope(x + step / 2 * second, t + step / 2)
            fourth, d = slope(x + step * third, t + step)
            x = x + step / 6 * (first + 2 * second + 2 * third + fourth)
            total = total + step / 6 * (a + 2 * b + 2 * c + d)
        return x, total


def train_field(
    points: NDArray[np.float64],
    classes: NDArray[np.intp],
    held: NDArray[np.intp],
    config: FlowConfig,
    *,
    n_classes: int,
    seed: int,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> VectorField:
    """Learn the field that carries standard normal noise to points, by conditional flow matching (Lipman et al. 2023, equation 9).

    Noise and data are joined by arcs, ``cos(pi t / 2) x0 + sin(pi t / 2) x1`` (Albergo & Vanden-Eijnden 2023): where the points are
    standard normal already the field that these ask for is 0, so that only what is not Gaussian has to be learned.

    Parameters
    ----------
    points, classes : (n, K), (n,) what to learn.
    held : rows that are not trained on; the field is the one that fits them best over the epochs, the 0 it starts from included.
    """
    rows = np.setdiff1d(np.arange(len(points)), held)
    order = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = VectorField(points.shape[1], n_classes, config)
        optimiser = torch.optim.AdamW(field.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        n_batches = -(-len(rows) // config.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=config.epochs * n_batches, pct_start=WARM_UP
        )
        data, of_class = torch.from_numpy(points.astype(np.float32)), torch.from_numpy(classes)
        looks = torch.from_numpy(np.tile(held, VALIDATION_DRAWS))
        check = _arcs(data[looks])
        best, kept, waited = float((check[2] ** 2).mean()), _state(field), 0
        for _ in range(config.epochs):
            for batch in np.array_split(order.permutation(rows), n_batches):
                x, t, velocity = _arcs(data[batch])
                loss = ((field(x, t, of_class[batch]) - velocity) ** 2).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            with torch.no_grad():
                error = float(((field(check[0], check[1], of_class[looks]) - check[2]) ** 2).mean())
            advance()
            waited += 1
            if error < best:
                best, kept, waited = error, _state(field), 0
            elif waited >= config.patience:
                break
        field.load_state_dict(kept)
    return field.double().eval()


def _arcs(data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A point on the arc from fresh noise to each row, its time, and the velocity there."""
    noise, t = torch.randn_like(data), torch.rand(len(data))
    angle = pi / 2 * t[:, None]
    return angle.cos() * noise + angle.sin() * data, t, pi / 2 * (angle.cos() * data - angle.sin() * noise)


def _state(field: VectorField) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in field.state_dict().items()}
