"""Training of a network: one recipe under a plain loop or under Lightning, killed and resumed to the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.checkpoint import NO_CHECKPOINT, Checkpoint, digest
from connectome_gnn.generation.settings import is_whole

__all__ = ["PLAIN", "Course", "Recipe", "TrainingConfig", "take_steps", "train"]

WARM_UP = 0.3
LARGEST_GRADIENT = 1.0
VALIDATION_BATCH = 256
ENGINES = ("auto", "plain", "lightning")
ACCELERATORS = ("auto", "cpu", "gpu")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")


class Recipe(Protocol):
    """What training needs to know of a network's configuration.

    ``epochs`` passes over the people, or ``max_steps`` where that is less; ``patience`` looks at the ``validation`` share of the
    people without improvement end training after the warm-up; AdamW with ``batch_size``, ``learning_rate``, ``weight_decay``.
    """

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def max_steps(self) -> int: ...  # noqa: D102
    @property
    def patience(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def validation(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class TrainingConfig:
    """Where and how networks are trained; what they are and how long they learn stands in their own configuration.

    Parameters
    ----------
    engine : ``plain``, a loop of our own in this process; ``lightning`` (extra ``train``); ``auto``, Lightning where something below
        asks for what only it has. On one CPU both give the same bytes.
    accelerator : ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.
    devices, num_nodes : processes a node (one GPU each), and nodes. On one node they are started by the fit, whose script then needs
        ``if __name__ == "__main__":``; several nodes want one process a device, started by torchrun, each of which fits the
        same model.
    precision : ``32``, ``bf16-mixed`` or ``16-mixed``. Early stopping always looks in full precision.
    strategy : of Lightning, ``auto`` or its name for one.
    logger : ``csv``, ``tensorboard``, ``wandb`` or ``mlflow``: errors and learning rates at every look at the validation people.
    log_folder : where loggers write; default ``lightning_logs`` in the current folder.
    progress : whether Lightning shows its own bar and messages.

    Raises
    ------
    ConnectomeError
        If a name is unknown, a number is not a whole one from 1 on, or the plain engine is asked for what only Lightning has.
    """

    engine: str = "auto"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "32"
    strategy: str = "auto"
    logger: str | None = None
    log_folder: str | Path | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for name, known in (("engine", ENGINES), ("accelerator", ACCELERATORS), ("precision", PRECISIONS), ("logger", (None, *LOGGERS))):
            if getattr(self, name) not in known:
                raise ConnectomeError(f"training: expected {name} to be one of {', '.join(map(str, known))}, got {getattr(self, name)!r}")
        for name in ("devices", "num_nodes"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ConnectomeError(f"training: expected {name} as a whole number from 1 on, got {value!r}")
        if not isinstance(self.strategy, str) or not self.strategy:
            raise ConnectomeError(f"training: expected strategy as 'auto' or Lightning's name for one, got {self.strategy!r}")
        if not isinstance(self.progress, (bool, np.bool_)):
            raise ConnectomeError(f"training: expected progress as True or False, got {self.progress!r}")
        if self.log_folder is not None and not isinstance(self.log_folder, (str, PathLike)):
            raise ConnectomeError(f"training: expected log_folder as a path, got {self.log_folder!r}")
        if self.engine == "plain" and self.asked:
            raise ConnectomeError(f"training: the plain engine has no {', '.join(self.asked)}; leave engine='auto' or say 'lightning'")

    @property
    def asked(self) -> list[str]:
        """What is asked for that only Lightning has."""
        default = {"devices": 1, "num_nodes": 1, "precision": "32", "strategy": "auto", "logger": None, "progress": False}
        return [f"{name}={getattr(self, name)}" for name, value in default.items() if getattr(self, name) != value]

    @property
    def uses_lightning(self) -> bool:
        """Whether Lightning does the training.

        Raises
        ------
        ConnectomeError
            If it should and is not installed.
        """
        if not (self.engine == "lightning" or self.asked):
            return False
        if find_spec("lightning") is None:
            wanted = ", ".join(self.asked) or "engine='lightning'"
            raise ConnectomeError(f"training with {wanted} needs Lightning; install it with: pip install 'connectome-gnn[train]'")
        return True

    @property
    def device(self) -> torch.device:
        """The device of this process.

        Raises
        ------
        ConnectomeError
            If a GPU is asked for and there is none.
        """
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConnectomeError("training: accelerator='gpu' was asked for, and torch sees no GPU here; say 'cpu' or 'auto'")
        return torch.device("cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


PLAIN = TrainingConfig()


def train(
    network: nn.Module,
    values: Tensor,
    missing: Tensor,
    target: Tensor,
    recipe: Recipe,
    *,
    training: TrainingConfig = PLAIN,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    stage: str = "network",
    advance: Callable[..., None] = lambda *_, **__: None,
) -> bool:
    """Train a network on squared error; it is left in its best state, in evaluation mode, on the CPU.

    AdamW with a one-cycle schedule and clipped gradients; the best state on validation people, drawn at random, is kept. All
    randomness comes from torch's global generator, which the caller seeds and forks.

    Parameters
    ----------
    network : takes values (B, F) and missing (B, P), gives (B, K).
    values, missing, target : (n, F) encoded columns, (n, P) mask of missing phenotypes, (n, K) what to predict.
    recipe : how long and how fast to learn.
    training : where.
    checkpoint, stage : where the state is stored at every look at the validation people, and under which name.
    advance : called at every look.

    Returns
    -------
    learned : whether the network was ever closer to the validation people than 0 is; where it was not, it is in its last state.

    Raises
    ------
    ConnectomeError
        If Lightning or a GPU is asked for and not there.
    """
    device = training.device
    inputs = _inputs(network, values, missing, target, recipe, training, device) if checkpoint.folder is not None else ""
    course = Course(network, values, missing, target, recipe, checkpoint, stage, inputs)
    finished = checkpoint.read(stage)
    if finished is not None and finished[1]["inputs"] == inputs:
        network.load_state_dict(_under(finished[0], ""))
        network.eval()
        checkpoint.discard(course.partial)  # a kill may have come between the two
        return bool(finished[1]["learned"])
    course.resume()
    take_steps(course, training, advance)
    learned = course.finish()
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    checkpoint.write(stage, arrays, {"inputs": inputs, "learned": learned})
    checkpoint.discard(course.partial)
    return learned


def take_steps(course: Course, training: TrainingConfig = PLAIN, advance: Callable[..., None] = lambda *_, **__: None) -> None:
    """Take the steps that a course has left, by the engine asked for; its network is then in its last state.

    Raises
    ------
    ConnectomeError
        If Lightning or a GPU is asked for and not there.
    """
    by_lightning, device = training.uses_lightning, training.device
    if course.ended:
        return
    if by_lightning:
        from connectome_gnn.generation.lightning_engine import train_with_lightning

        train_with_lightning(course, training, advance)
    else:
        _train_plainly(course, device, advance)


class Course:
    """A training under way: who is learned from, how far it is, and what early stopping remembers.

    Both engines take their batches, their loss and their looks at the validation people from here, which is why they agree.

    Parameters
    ----------
    network, values, missing, target, recipe, checkpoint, stage : as for :func:`train`.
    inputs : checksum of what the training starts from, which a stored state has to share.

    Attributes
    ----------
    step, total : steps taken, and steps in all.
    ended : whether all steps are taken or patience is at its end.
    """

    def __init__(
        self,
        network: nn.Module,
        values: Tensor,
        missing: Tensor,
        target: Tensor,
        recipe: Recipe,
        checkpoint: Checkpoint = NO_CHECKPOINT,
        stage: str = "network",
        inputs: str = "",
    ) -> None:
        self.network, self.values, self.missing, self.target, self.recipe = network, values, missing, target, recipe
        self.checkpoint, self.stage, self.inputs = checkpoint, stage, inputs
        order = torch.randperm(len(values))
        n_validation = max(int(recipe.validation * len(values)), 1)
        self.held, self.rows = order[:n_validation], order[n_validation:]
        self.total = min(recipe.epochs * -(-len(self.rows) // recipe.batch_size), recipe.max_steps)
        self.between_looks = -(-self.total // recipe.epochs)
        self.step, self.waited, self.ended = 0, 0, False
        self.best = self.silence
        self.kept: dict[str, Tensor] | None = None
        self.shuffled, self.taken = self.rows[:0], 0
        self.shuffler: torch.Generator | None = None
        self.stored: tuple[dict[str, NDArray], dict[str, Any]] | None = None

    @property
    def partial(self) -> str:
        """The stage under which the state is stored."""
        return f"{self.stage} under way"

    @property
    def silence(self) -> float:
        """Mean squared error on the validation people of saying nothing."""
        return sum((self.target[part] ** 2).sum(dtype=torch.float64).item() for part in self.held.split(VALIDATION_BATCH)) / self.n_held

    @property
    def n_held(self) -> int:
        """How many numbers of the validation people there are to predict."""
        return self.target[0].numel() * len(self.held)

    def optimiser(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """AdamW and its one-cycle schedule, as they stand at this step."""
        recipe = self.recipe
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=self.total, pct_start=WARM_UP)
        if self.stored is not None:
            arrays, record = self.stored
            moments: dict[int, dict[str, Tensor]] = {}
            for name, array in arrays.items():
                if name.startswith("optimiser/"):
                    _, number, key = name.split("/")
                    moments.setdefault(int(number), {})[key] = torch.from_numpy(array)
            groups = [{**group, **rates} for group, rates in zip(optimiser.state_dict()["param_groups"], record["rates"], strict=True)]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})
            schedule.load_state_dict({**schedule.state_dict(), **record["schedule"]})
        return optimiser, schedule

    def batches(self) -> Iterator[Tensor]:
        """Rows of each step that is left, (B,); people are shuffled anew at every pass."""
        size = self.recipe.batch_size
        for _ in range(self.step, self.total):
            if self.taken >= len(self.shuffled):
                self.shuffled, self.taken = self.rows[torch.randperm(len(self.rows), generator=self.shuffler)], 0
            self.taken += size
            yield self.shuffled[self.taken - size : self.taken]

    def loss(self, rows: Tensor, device: torch.device, network: nn.Module, over: int | None = None) -> Tensor:
        """Mean squared error over rows; with ``over`` its sum over rows as a share of the mean over that many."""
        squares = (network(self.values[rows].to(device), self.missing[rows].to(device)) - self.target[rows].to(device)) ** 2
        return squares.mean() if over is None else squares.sum() / (over * self.target[0].numel())

    @torch.no_grad()
    def squared_error(self, rows: Tensor, device: torch.device) -> float:
        """Sum over rows of :meth:`error`, in batches, so that memory does not grow with the people."""
        training = self.network.training
        self.network.eval()
        total = 0.0
        for part in rows.split(VALIDATION_BATCH):
            predicted = self.network(self.values[part].to(device), self.missing[part].to(device))
            total += self.error(predicted, self.target[part].to(device)).item()
        self.network.train(training)
        return total

    def error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Sum of squared errors, in float64."""
        return ((predicted - target) ** 2).sum(dtype=torch.float64)

    @property
    def due(self) -> bool:
        """Whether it is time to look at the validation people."""
        return self.step % self.between_looks == 0 or self.step >= self.total

    def look(self, error: float) -> None:
        """Remember the state if the validation error (a mean) is the least so far; end when patience is at its end."""
        if error < self.best:
            self.best, self.waited = error, 0
            self.kept = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        elif self.step >= WARM_UP * self.total:  # before, steps are too small to tell whether there is anything to learn
            self.waited += 1
        self.ended = self.waited >= self.recipe.patience or self.step >= self.total

    def finish(self) -> bool:
        """Put the network back into its best state; whether there is one."""
        if self.kept is not None:
            self.network.load_state_dict(self.kept)
        self.network.cpu().eval()
        return self.kept is not None

    def store(self, optimiser: torch.optim.Optimizer, schedule: Any, scaler: Mapping[str, Any] | None = None) -> None:
        """Store all that the next step depends on; ``scaler`` is what mixed precision remembers."""
        if self.checkpoint.folder is None:
            return
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"kept/{name}": value for name, value in (self.kept or {}).items()}
        state = optimiser.state_dict()
        tensors |= {f"optimiser/{number}/{key}": value for number, moments in state["state"].items() for key, value in moments.items()}
        tensors |= {"shuffled": self.shuffled, "random": torch.get_rng_state()}
        if self.shuffler is not None:
            tensors["shuffler"] = self.shuffler.get_state()
        if torch.cuda.is_available():
            tensors["random of the GPU"] = torch.cuda.get_rng_state()
        record = {
            "inputs": self.inputs,
            **{name: getattr(self, name) for name in ("step", "best", "waited", "ended", "taken")},
            "rates": [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]],
            "schedule": {key: schedule.state_dict()[key] for key in ("last_epoch", "_step_count", "_last_lr")},
            "scaler": dict(scaler or {}),
        }
        self.checkpoint.write(self.partial, {name: value.detach().cpu().numpy() for name, value in tensors.items()}, record)

    def resume(self) -> None:
        """Go on from the state that is stored, if there is one of the same beginnings."""
        self.stored = self.checkpoint.read(self.partial)
        if self.stored is None or self.stored[1]["inputs"] != self.inputs:
            self.stored = None
            return
        arrays, record = self.stored
        for name in ("step", "best", "waited", "ended", "taken"):
            setattr(self, name, record[name])
        self.network.load_state_dict(_under(arrays, "network/"))
        self.kept = _under(arrays, "kept/") or None
        self.shuffled = torch.from_numpy(arrays["shuffled"])

    def resume_randomness(self) -> None:
        """Put torch's generators where they were when the state was stored; last before the first step."""
        if self.stored is not None:
            torch.set_rng_state(torch.from_numpy(self.stored[0]["random"]))
            if torch.cuda.is_available() and "random of the GPU" in self.stored[0]:
                torch.cuda.set_rng_state(torch.from_numpy(self.stored[0]["random of the GPU"]))


def _train_plainly(course: Course, device: torch.device, advance: Callable[..., None]) -> None:
    network = course.network.to(device).train()
    optimiser, schedule = course.optimiser()
    course.resume_randomness()
    for rows in course.batches():
        optimiser.zero_grad()
        course.loss(rows, device, network).backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        course.step += 1
        if course.due:
            course.look(course.squared_error(course.held, device) / course.n_held)
            course.store(optimiser, schedule)
            advance()
            if course.ended:
                return


def _under(arrays: dict[str, NDArray], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)}


def _inputs(
    network: nn.Module, values: Tensor, missing: Tensor, target: Tensor, recipe: Recipe, training: TrainingConfig, device: torch.device
) -> str:
    """Checksum of all that the trained network depends on."""
    arrays: dict[str, NDArray] = {f"network/{name}": value.numpy() for name, value in network.state_dict().items()}
    arrays |= {"values": values.numpy(), "missing": missing.numpy(), "target": target.numpy(), "random": torch.get_rng_state().numpy()}
    learning = ("epochs", "max_steps", "patience", "batch_size", "learning_rate", "weight_decay", "validation")
    where = {"devices": training.devices * training.num_nodes, "precision": training.precision, "kind": device.type}
    return digest(arrays, {**{name: getattr(recipe, name) for name in learning}, **where})
