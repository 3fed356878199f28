"""What an attribution looks at: the people as a model of few coordinates sees them, their resamples and their permutations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome_gnn.attribution.coalitions import Game
from connectome_gnn.attribution.explained import GlobalStrength, Observed
from connectome_gnn.attribution.intervals import Bootstrap
from connectome_gnn.attribution.path_gradients import path_gradients
from connectome_gnn.attribution.plan import Plan
from connectome_gnn.attribution.predictor import Predictor
from connectome_gnn.attribution.profiles import Missing, Profiles
from connectome_gnn.cohort import Cohort
from connectome_gnn.evaluation.resampling import generator_for, permutations, units_of_rows
from connectome_gnn.generation.generator import ConnectomeGenerator
from connectome_gnn.generation.model import ConnectomeModel

__all__ = ["Scene", "has_gradients"]

TOLERANCE = 1e-6
"""Share of the predictions' energy that a smaller basis may leave out."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The people as a model of few coordinates sees them."""

    model: ConnectomeModel
    cohort: Cohort
    plan: Plan
    profiles: Profiles
    predictor: Predictor
    bootstrap: Bootstrap
    orders: NDArray[np.int32]
    advance: Callable[..., None]
    members: NDArray[np.float64]
    networks: tuple[str, ...]
    games: dict[Any, Game] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ConnectomeModel, cohort: Cohort, plan: Plan, advance: Callable[..., None]) -> Scene:
        """The people of a cohort, in as few coordinates as hold what the model says with any group known or not."""
        encoded = model.schema.encode(cohort.phenotypes)
        profiles = Profiles.of(model.schema, encoded, plan.seed)
        predictor = Predictor.of(model, encoded, plan.n_jobs)
        groups = groups_of(model)
        wide = Game(predictor, profiles, groups, "reference")
        seen = [wide.full(), wide.coordinates(frozenset())]
        seen += [
            part
            for player in range(len(wide))
            for part in (wide.coordinates(frozenset({player})), wide.coordinates(wide.everybody - {player}))
        ]
        predictor = predictor.reduced(seen, TOLERANCE)
        units = units_of_rows(cohort, np.arange(cohort.n_people))
        orders = permutations(units, plan.n_permutations, generator_for(plan.seed, "permutations of people"))
        names = [name for name in dict.fromkeys(cohort.atlas.network) if name != "n/a"]
        members = np.array([[network == name for name in names] for network in cohort.atlas.network], float).reshape(
            cohort.n_regions, len(names)
        )
        bootstrap = Bootstrap.of(units, plan.n_bootstrap, plan.seed)
        return cls(model, cohort, plan, profiles, predictor, bootstrap, orders, advance, members, tuple(names))

    def game(self, players: Mapping[str, tuple[int, ...]], missing: Missing) -> Game:
        """A game of these players, remembered by its kind."""
        key = (missing, *players.items())
        if key not in self.games:
            self.games[key] = Game(self.predictor, self.profiles, players, missing)
        return self.games[key]

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the phenotypes of each group."""
        return groups_of(self.model)

    @cached_property
    def phenotypes(self) -> dict[str, tuple[int, ...]]:
        """Number of each phenotype."""
        return {name: (number,) for number, name in enumerate(self.model.schema.names)}

    @cached_property
    def places(self) -> dict[str, Any]:
        """Columns that tell where each region is."""
        atlas = self.cohort.atlas
        where = {"region": atlas.labels, "hemisphere": atlas.hemisphere, "network": atlas.network}
        return {**where, **dict(zip("xyz", atlas.xyz.T, strict=True))}

    @cached_property
    def observed(self) -> dict[str, Observed]:
        """The people with their total strength, and without, as far as they have been looked at."""
        return {}

    def seen(self, strength: GlobalStrength) -> Observed:
        """The people, looked at once for each ``strength``."""
        if strength not in self.observed:
            self.observed[strength] = Observed.of(self.cohort, self.model.space, self.predictor.basis, strength, regions=self.plan.mapped)
        return self.observed[strength]

    @cached_property
    def gradients(self) -> NDArray[np.float64] | None:
        """Integrated gradients (N, P, 2) of what is explained of each person; None where the model has none, or nobody asked."""
        if "gradient" not in self.plan.methods or not isinstance(self.model, ConnectomeGenerator) or not has_gradients(self.model):
            return None
        return path_gradients(self.model, self.profiles.encoded, self.seen("keep"), self.predictor)

    def tested(self, players: Mapping[str, tuple[int, ...]]) -> Game:
        """The game whose predictions without a player p values rest on: averaged over it, where the model can do that."""
        return self.game(players, "reference" if self.model.schema.covariance is None else "conditional")

    def others(self, game: Game, player: int) -> NDArray[np.float64]:
        """Encoded columns (N, Q) of the other players."""
        numbers = list(game.players.values())[player]
        return self.profiles.encoded.values[:, ~self.profiles.columns_of(numbers)]


def groups_of(model: ConnectomeModel) -> dict[str, tuple[int, ...]]:
    place = {name: number for number, name in enumerate(model.schema.names)}
    return {group: tuple(place[name] for name in names) for group, names in model.schema.groups.items()}


def has_gradients(model: ConnectomeModel) -> bool:
    """Whether gradients can be taken through a model."""
    return isinstance(model, ConnectomeGenerator) and model.transfer is None
