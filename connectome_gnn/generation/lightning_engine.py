"""The same training under Lightning: several processes and nodes, mixed precision, loggers."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch import loggers as known_loggers
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.training import LARGEST_GRADIENT, Course, TrainingConfig

__all__ = ["train_with_lightning"]

LOGGERS = {"csv": "CSVLogger", "tensorboard": "TensorBoardLogger", "wandb": "WandbLogger", "mlflow": "MLFlowLogger"}
LOG_FOLDER = "lightning_logs"
TALKATIVE = ("lightning.pytorch", "lightning.fabric")


def train_with_lightning(course: Course, training: TrainingConfig, advance: Callable[..., None]) -> None:
    """Take a course's remaining steps under Lightning; its network and best state are then those of the plain loop.

    Several processes share every batch, their gradients weighed by their people, so that the steps are those of one process but
    for what dropout draws.

    Raises
    ------
    ConnectomeError
        If a logger's package is missing or its folder cannot be made, Lightning refuses the strategy, or half precision is asked for
        without a GPU.
    """
    gpu = training.device.type == "cuda"
    if training.precision == "16-mixed" and not gpu:
        raise ConnectomeError("training: precision='16-mixed' needs a GPU, and none is used here; 'bf16-mixed' works on both")
    alone = training.devices * training.num_nodes == 1
    started = training.num_nodes > 1 or "LOCAL_RANK" in os.environ
    strategy: str = training.strategy
    if strategy == "auto" and not alone:
        strategy = "ddp" if started else "ddp_spawn"
    module = _Module(course, advance if alone else None, quiet=not training.progress)
    with _quiet(not training.progress):
        logger = _logger(training, course.stage)
        try:
            trainer = Trainer(
                accelerator="gpu" if gpu else "cpu",
                devices=training.devices,
                num_nodes=training.num_nodes,
                strategy=strategy,
                precision=training.precision,  # type: ignore[arg-type]
                max_epochs=1,  # one Lightning epoch holds all steps
                gradient_clip_val=LARGEST_GRADIENT,
                logger=logger,
                enable_progress_bar=training.progress,
                enable_model_summary=training.progress,
                enable_checkpointing=False,  # our own are written at every look
                use_distributed_sampler=False,
            )
        except (ValueError, ImportError, MisconfigurationException) as error:
            asked = f"devices={training.devices}, num_nodes={training.num_nodes}, strategy={strategy!r}"
            raise ConnectomeError(f"training: Lightning refuses {asked} here ({error})") from error
        trainer.fit(module)
    if trainer.interrupted:
        raise KeyboardInterrupt
    course.kept = {name: value.detach().clone() for name, value in course.network.state_dict().items()} if module.learned else None


class _Module(LightningModule):
    """A course as Lightning wants it."""

    learned: Tensor

    def __init__(self, course: Course, advance: Callable[..., None] | None, *, quiet: bool) -> None:
        super().__init__()
        self.network = course.network
        self.course, self.told, self.quiet = course, advance, quiet
        self.random = torch.get_rng_state()
        self.losses: list[Tensor] = []
        self.register_buffer("learned", torch.tensor(False))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that the fit has started."""
        super().__setstate__(state)
        if self.quiet:
            _silence()

    def on_fit_start(self) -> None:
        course = self.course
        if self.trainer.world_size > 1:  # every process shuffles people alike, whatever its dropout draws
            course.shuffler = torch.Generator()
            stored = course.stored
            course.shuffler.set_state(self.random if stored is None else torch.from_numpy(stored[0]["shuffler"]))
            self._reseed()

    def on_train_start(self) -> None:
        if self.course.stored is not None:
            self.trainer.precision_plugin.load_state_dict(self.course.stored[1]["scaler"])
        if self.trainer.world_size == 1:
            self.course.resume_randomness()

    def configure_optimizers(self) -> Any:
        self.optimiser, self.schedule = self.course.optimiser()
        return [self.optimiser], [{"scheduler": self.schedule, "interval": "step"}]

    def train_dataloader(self) -> _Steps:
        return _Steps(self.course)

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        """Rows stay where the people are; the course moves what it takes of them."""
        return batch

    def training_step(self, rows: Tensor, _: int) -> Tensor:
        world = self.trainer.world_size
        mine = rows[self.global_rank :: world]
        if world == 1:
            loss = self.course.loss(rows, self.device, self.network)
        else:  # gradients are averaged over processes, whose shares of a batch may differ by a person
            loss = self.course.loss(mine, self.device, self.network, over=len(rows)) * world
        self.losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        course, trainer = self.course, self.trainer
        course.step += 1
        if not course.due:
            return
        error = torch.tensor(course.squared_error(course.held[self.global_rank :: trainer.world_size], self.device), dtype=torch.float64)
        if trainer.world_size > 1:
            error = trainer.strategy.reduce(error.to(self.device), reduce_op="sum")
        course.look(float(error) / course.n_held)
        learning = {"training_error": torch.stack(self.losses).mean().item(), "learning_rate": self.optimiser.param_groups[0]["lr"]}
        self.losses.clear()
        for logger in trainer.loggers:
            logger.log_metrics({**learning, "validation_error": float(error) / course.n_held}, step=course.step)
        if trainer.is_global_zero:
            course.store(self.optimiser, self.schedule, trainer.precision_plugin.state_dict())
        if trainer.world_size > 1:
            self._reseed()
        if self.told is not None:
            self.told()
        trainer.should_stop = course.ended

    def on_train_end(self) -> None:
        """The best state is what comes back from processes that the fit has started."""
        if self.course.kept is not None:
            self.network.load_state_dict(self.course.kept)
            self.learned.fill_(True)

    def _reseed(self) -> None:
        """A process's dropout depends on the seed, the step and the process alone, so that it goes on alike after a kill."""
        place = f"{self.course.step} {self.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(self.random.numpy().tobytes() + place).digest()[:6], "big"))


class _Steps:
    """The steps that are left. No DataLoader: one draws from torch's generator, and the people are in memory."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def __len__(self) -> int:
        return self.course.total - self.course.step

    def __iter__(self) -> Iterator[Tensor]:
        return self.course.batches()


def _logger(training: TrainingConfig, stage: str) -> Logger | bool:
    """The logger asked for by name, False for none."""
    if training.logger is None:
        return False
    folder, name = Path(training.log_folder or LOG_FOLDER), stage.replace(" ", "-")
    named = {"run_name": name} if training.logger == "mlflow" else {"name": name}
    try:
        made: Logger = getattr(known_loggers, LOGGERS[training.logger])(save_dir=str(folder), **named)
    except (ImportError, ModuleNotFoundError) as error:
        raise ConnectomeError(f"training: logger={training.logger!r} needs a package that is not installed ({error})") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConnectomeError(f"training: the log folder {folder} cannot be made ({error}); name another as log_folder") from error
    return made


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Lightning keeps its advice to itself."""
    if not quiet:
        yield
        return
    before = {name: logging.getLogger(name).level for name in TALKATIVE}
    with warnings.catch_warnings():
        _silence()
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def _silence() -> None:
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
