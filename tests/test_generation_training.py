"""One recipe, two engines, the same bytes; early stopping as written; several processes as one."""

from __future__ import annotations

import csv
import inspect
import logging
import warnings
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation import training as module
from connectome_gnn.generation.checkpoint import Checkpoint
from connectome_gnn.generation.training import VALIDATION_BATCH, Course, TrainingConfig, train


@dataclass(frozen=True)
class Recipe:
    epochs: int = 6
    max_steps: int = 900
    patience: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    validation: float = 0.15


class Small(nn.Module):
    """Says nothing at first, as the real ones do."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(7, 16), nn.Linear(16, 5)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        known = torch.where(missing, 0, values)
        return self.last(self.dropout(torch.tanh(self.first(known))))


def people(n: int = 400, seed: int = 0, signal: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    values, missing = torch.randn(n, 7, generator=draw), torch.rand(n, 7, generator=draw) < 0.1
    effect = torch.randn(7, 5, generator=draw) * signal
    return values, missing, torch.tanh(values @ effect) * signal + torch.randn(n, 5, generator=draw)


def trained(data: tuple[Tensor, Tensor, Tensor], recipe: Recipe, dropout: float = 0.2, seed: int = 1, **arguments) -> tuple[Small, bool]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Small(dropout)
        learned = train(network, *data, recipe, **arguments)
    return network, learned


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def written_out(data: tuple[Tensor, Tensor, Tensor], recipe: Recipe, seed: int = 1) -> tuple[Small, int]:
    """The recipe as a loop without any of the package, and how often it looked at the validation people."""
    values, missing, target = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Small()
        order = torch.randperm(len(values))
        n_held = max(int(recipe.validation * len(values)), 1)
        held, rows = order[:n_held], order[n_held:]
        total = min(recipe.epochs * -(-len(rows) // recipe.batch_size), recipe.max_steps)
        optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=total, pct_start=0.3)
        best, kept, waited, step, looks = (target[held] ** 2).mean().item(), network.state_dict(), 0, 0, 0
        while True:
            for batch in rows[torch.randperm(len(rows))].split(recipe.batch_size):
                network.train()
                optimiser.zero_grad()
                ((network(values[batch], missing[batch]) - target[batch]) ** 2).mean().backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                step += 1
                if step % -(-total // recipe.epochs) == 0 or step == total:
                    looks += 1
                    network.eval()
                    with torch.no_grad():
                        error = ((network(values[held], missing[held]) - target[held]) ** 2).mean().item()
                    if error < best:
                        best, waited = error, 0
                        kept = {name: value.clone() for name, value in network.state_dict().items()}
                    elif step >= 0.3 * total:
                        waited += 1
                    if waited >= recipe.patience or step == total:
                        network.load_state_dict(kept)
                        return network, looks


# steps in whole passes; a last batch of one person and a last look off the beat; patience at its end; more people to look at than a batch
CASES = [
    (400, Recipe()),
    (77, Recipe(epochs=5, max_steps=19, validation=0.15)),
    (300, Recipe(epochs=30, patience=1, learning_rate=5e-2)),
    (700, Recipe(epochs=3, validation=0.5)),
]


@pytest.mark.parametrize(("n", "recipe"), CASES)
def test_both_engines_follow_the_recipe_to_the_byte(n, recipe):
    data = people(n)
    looks: dict[str, int] = {}
    networks = {}
    for engine in ("plain", "lightning"):
        seen: list[int] = []
        networks[engine], learned = trained(data, recipe, training=TrainingConfig(engine=engine), advance=lambda seen=seen: seen.append(1))
        assert learned
        assert not networks[engine].training
        looks[engine] = len(seen)
    assert same(networks["plain"], networks["lightning"])
    expected, n_looks = written_out(data, recipe)
    assert same(networks["plain"], expected)
    assert looks["plain"] == looks["lightning"] == n_looks
    if recipe.patience == 1:
        assert looks["plain"] < 20  # of 30


def test_the_validation_people_are_looked_at_in_batches():
    data = people(900)
    sizes: list[int] = []

    class Watching(Small):
        def forward(self, values: Tensor, missing: Tensor) -> Tensor:
            sizes.append(len(values))
            return super().forward(values, missing)

    train(Watching(), *data, Recipe(epochs=1, validation=0.9))
    assert max(sizes) == VALIDATION_BATCH
    course = Course(Small(), *data, Recipe(validation=0.9))
    nn.init.normal_(course.network.last.weight)
    course.network.eval()
    every = course.network(data[0][course.held], data[1][course.held])
    error = ((every - data[2][course.held]) ** 2).sum().item()
    assert course.squared_error(course.held, torch.device("cpu")) == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("engine", ["plain", "lightning"])
def test_where_nothing_can_be_learned_it_says_so(engine):
    data = people(200, signal=0)
    _, learned = trained(data, Recipe(learning_rate=1.0), training=TrainingConfig(engine=engine))
    assert learned is False


@pytest.mark.parametrize("engine", ["plain", "lightning"])
def test_nothing_is_said_and_the_world_is_left_alone(engine, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    state, level = torch.get_rng_state(), logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(people(), Recipe(epochs=2), training=TrainingConfig(engine=engine))
    assert "".join(capfd.readouterr()) == ""
    assert torch.equal(torch.get_rng_state(), state)
    assert logging.getLogger("lightning.pytorch").level == level
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()


class Killed(BaseException):
    """What a test throws in place of SIGKILL."""


def killed_at(look: int, checkpoint: Checkpoint, data: tuple[Tensor, Tensor, Tensor], recipe: Recipe, config: TrainingConfig) -> None:
    seen: list[int] = []

    def die() -> None:
        seen.append(1)
        if len(seen) == look:
            raise Killed

    with pytest.raises(Killed):
        trained(data, recipe, training=config, checkpoint=checkpoint, advance=die)
    assert [path.name for path in checkpoint.folder.iterdir()] == ["network-under-way.safetensors"]


# early, late, and late where the best state lies before
@pytest.mark.parametrize("engine", ["plain", "lightning"])
@pytest.mark.parametrize(
    ("look", "recipe"),
    [
        (1, Recipe(max_steps=50)),
        (4, Recipe(max_steps=50)),
        (11, Recipe(epochs=12, patience=12, batch_size=4, learning_rate=0.3, validation=0.9)),
    ],
)
def test_a_training_that_is_killed_goes_on_to_the_same_bytes(engine, look, recipe, tmp_path):
    data, config = people(), TrainingConfig(engine=engine)
    whole, _ = trained(data, recipe, training=config)
    seen: list[int] = []
    checkpoint = Checkpoint(tmp_path)
    killed_at(look, checkpoint, data, recipe, config)
    again, learned = trained(data, recipe, training=config, checkpoint=checkpoint, advance=lambda: seen.append(1))
    assert learned
    assert same(again, whole)
    assert len(seen) == recipe.epochs - look  # what was done is not done again
    assert [path.name for path in tmp_path.iterdir()] == ["network.safetensors"]
    seen.clear()
    third, _ = trained(data, recipe, training=config, checkpoint=checkpoint, advance=lambda: seen.append(1))
    assert same(third, whole)
    assert not seen


@pytest.mark.parametrize("under_way", [True, False])
def test_a_stored_training_of_something_else_is_not_gone_on_with(tmp_path, under_way):
    data = people()
    others = [
        ((data[0], data[1], data[2] * 1.5), Recipe(), {}),
        (data, Recipe(learning_rate=2e-2), {}),
        (data, Recipe(), {"seed": 9}),
    ]
    for number, (other, recipe, arguments) in enumerate(others):
        (tmp_path / str(number)).mkdir()
        checkpoint = Checkpoint(tmp_path / str(number))
        if under_way:
            killed_at(2, checkpoint, data, Recipe(), TrainingConfig())
        else:
            trained(data, Recipe(), checkpoint=checkpoint)
        fresh, _ = trained(other, recipe, **arguments)
        stored, _ = trained(other, recipe, checkpoint=checkpoint, **arguments)
        assert same(fresh, stored)


def test_two_processes_share_a_batch_and_take_the_same_steps(tmp_path):
    """Without dropout nothing but the order of sums differs; 77 people leave a last batch that cannot be halved."""
    recipe, data = Recipe(epochs=4, batch_size=15), people(77)
    one, _ = trained(data, recipe, dropout=0.0)
    (tmp_path / "state").mkdir()
    config = TrainingConfig(accelerator="cpu", devices=2, logger="csv", log_folder=tmp_path / "logs")
    two, learned = trained(data, recipe, dropout=0.0, training=config, checkpoint=Checkpoint(tmp_path / "state"))
    assert learned
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, atol=2e-6, rtol=1e-5)
    assert (tmp_path / "state" / "network.safetensors").is_file()
    (table,) = (tmp_path / "logs").rglob("metrics.csv")
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 4
    assert float(rows[-1]["validation_error"]) < float(rows[0]["validation_error"])
    assert {"training_error", "learning_rate"} <= rows[0].keys()


def test_half_precision_learns_the_same():
    data, recipe = people(), Recipe()
    full, _ = trained(data, recipe)
    half, learned = trained(data, recipe, training=TrainingConfig(precision="bf16-mixed", accelerator="cpu"))
    assert learned
    assert not same(full, half)
    values, missing, target = data
    with torch.no_grad():
        outputs = [network(values, missing) for network in (full, half)]
    assert all(output.dtype == torch.float32 for output in outputs)
    assert (outputs[0] - outputs[1]).pow(2).mean() < 0.01 * target.var()


def test_what_cannot_be_done_is_one_sentence(monkeypatch):
    of_no_kind = [{"devices": value} for value in (0, 1.5, float("nan"), True, "2", None)] + [
        {"num_nodes": value} for value in (-1, "auto")
    ]
    of_no_kind += [{"strategy": None}, {"strategy": ""}, {"progress": "no"}, {"log_folder": 3}]
    for wrong in ({"engine": "keras"}, {"precision": "8"}, {"logger": "paper"}, {"accelerator": "tpu"}, *of_no_kind):
        with pytest.raises(ConnectomeError, match=f"training: expected {next(iter(wrong))}"):
            TrainingConfig(**wrong)
    with pytest.raises(ConnectomeError, match="plain engine has no devices=2, logger=csv"):
        TrainingConfig(engine="plain", devices=2, logger="csv")
    with pytest.raises(ConnectomeError, match="16-mixed' needs a GPU"):
        trained(people(), Recipe(), training=TrainingConfig(precision="16-mixed", accelerator="cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConnectomeError, match="no GPU"):
        trained(people(), Recipe(), training=TrainingConfig(accelerator="gpu"))
    with pytest.raises(ConnectomeError, match="logger='wandb' needs a package"):
        trained(people(), Recipe(), training=TrainingConfig(logger="wandb"))


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "wandb", "mlflow"])
def test_every_logger_is_made_with_arguments_that_it_has(monkeypatch, tmp_path, logger):
    from connectome_gnn.generation import lightning_engine as engine

    known, given = inspect.signature(getattr(engine.known_loggers, engine.LOGGERS[logger])), []
    monkeypatch.setattr(engine.known_loggers, engine.LOGGERS[logger], lambda **arguments: given.append(known.bind(**arguments).arguments))
    engine._logger(TrainingConfig(logger=logger, log_folder=tmp_path / "logs"), "network fold 0")
    assert given[0]["save_dir"] == str(tmp_path / "logs") and "network-fold-0" in given[0].values()
    assert "kwargs" not in given[0]


def test_what_lightning_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConnectomeError, match="the log folder .*file cannot be made"):
        trained(people(), Recipe(), training=TrainingConfig(logger="csv", log_folder=tmp_path / "file", accelerator="cpu"))
    with pytest.raises(ConnectomeError, match="Lightning refuses devices=1, num_nodes=1, strategy='nonsense'"):
        trained(people(), Recipe(), training=TrainingConfig(strategy="nonsense", accelerator="cpu"))


def test_without_lightning_the_plain_loop_trains_and_the_rest_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert not TrainingConfig().uses_lightning
    network, _ = trained(people(), Recipe())
    assert same(network, written_out(people(), Recipe())[0])
    with pytest.raises(ConnectomeError, match=r"precision=bf16-mixed needs Lightning.*connectome-gnn\[train\]"):
        trained(people(), Recipe(), training=TrainingConfig(precision="bf16-mixed"))


def test_lightning_is_used_only_where_it_is_asked_for():
    assert not TrainingConfig().uses_lightning
    assert not TrainingConfig(engine="plain").uses_lightning
    assert TrainingConfig(engine="lightning").uses_lightning
    for asked in (
        {"devices": 2},
        {"num_nodes": 2},
        {"precision": "bf16-mixed"},
        {"logger": "csv"},
        {"strategy": "ddp"},
        {"progress": True},
    ):
        assert replace(TrainingConfig(), **asked).uses_lightning
