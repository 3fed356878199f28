"""Differential privacy of a generator: what is promised, and the account of what has been spent.

Everything that a private generator releases is a sum over people with Gaussian noise (Dwork & Roth 2014, appendix A). Such releases,
each chosen after the ones before it was seen, together are as private as a single one: a mechanism of sensitivity-to-noise ratios
mu_1, mu_2, ... satisfies Gaussian differential privacy with mu = sqrt(mu_1^2 + mu_2^2 + ...) (Dong, Roth & Su 2022, corollary 3.3).
In terms of epsilon and delta that is exactly (Balle & Wang 2018, theorem 8)

    delta = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu),

so nothing is lost between the account and the promise; mu^2 / 2 is rho of zero-concentrated differential privacy.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from secrets import token_bytes
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri

from connectome_gnn.errors import ConnectomeError, PrivacyWarning

__all__ = ["DifferentialPrivacy", "Ledger", "delta_of", "epsilon_of", "largest_mu"]

FINE = 2.0**-10
"""Released numbers are rounded to about this share of their noise, so that the last digits of a float tell nothing."""


@dataclass(frozen=True)
class DifferentialPrivacy:
    """The promise that no single person decides what a generator learns.

    With it, two cohorts that differ in one person (any connectome and any profile in place of another's) give models so alike that
    whoever sees a model, all of it, and knows everybody else, cannot tell the two apart: for every set S of models,
    P(model in S) <= exp(epsilon) P'(model in S) + delta. The number of people, the atlas, the columns of the table with their ranges
    and levels, and what the cohort is called are taken for public. Where people belong together (a column ``family_id``, several rows
    of a person) the promise holds for the whole family: it counts as one, its rows share its weight. Every further fit to the same
    people spends its own epsilon on top.

    Parameters
    ----------
    epsilon : above 0; 1 and less is strong, above 10 hardly a promise.
    delta : chance, below 1, that epsilon does not hold; default 1 / (10 n) of n people or families.
    bounds : by column, the range of a number, ``(45, 82)``, or the levels of a category, ``["F", "M"]``, as they are publicly known;
        None leaves a column out. Default: Levels, and Minimum and Maximum, of ``participants.json``. They must not be read off the
        cohort: where neither says, the column is refused by name. Values beyond the range count as its end, unknown levels as missing.
    network_share : share of the budget for the message-passing network, in [0, 1); 0 leaves it out.
    noise_seed : for tests alone: whoever knows the seed takes the noise away. By default noise comes from the operating system,
        and no two fits are the same.

    Warns
    -----
    PrivacyWarning
        If ``noise_seed`` is given.

    Examples
    --------
    >>> DifferentialPrivacy(epsilon=3.0, bounds={"age": (45, 82), "sex": ["F", "M"]}).budget(3000)["delta"] == 1 / 30000
    True
    """

    epsilon: float
    delta: float | None = None
    bounds: Mapping[str, Sequence[Any] | Mapping[Any, Any] | None] | None = None
    network_share: float = 0.0
    noise_seed: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < inf:
            raise ConnectomeError(f"epsilon is a number above 0, got {self.epsilon}; without privacy leave privacy out")
        if self.delta is not None and not 0 < self.delta < 1:
            raise ConnectomeError(f"delta is a chance between 0 and 1, rather below 1 / people, got {self.delta}")
        if not 0 <= self.network_share < 1:
            raise ConnectomeError(f"network_share is a share of the privacy budget, at least 0 and below 1, got {self.network_share}")
        if self.noise_seed is not None:
            warnings.warn(
                "the noise comes from a known seed: whoever knows it can take the noise away, so this model is not private; "
                "leave noise_seed out for a model that leaves your hands",
                PrivacyWarning,
                stacklevel=3,
            )

    def budget(self, n: int) -> dict[str, float]:
        """``epsilon``, ``delta`` and the ``mu`` of Gaussian differential privacy for ``n`` people or families."""
        delta = 1 / (10 * n) if self.delta is None else self.delta
        return {"epsilon": float(self.epsilon), "delta": float(delta), "mu": largest_mu(self.epsilon, delta)}


class Ledger:
    """Releases noisy numbers and keeps the account of what each has cost.

    Parameters
    ----------
    mu : all that may be spent (Gaussian differential privacy).
    seed : of the noise, for tests; None draws it from the operating system.

    Attributes
    ----------
    entries : list of name, share of the budget, sensitivity and noise (standard deviation) of each release.
    """

    def __init__(self, mu: float, seed: int | None = None) -> None:
        self.mu = mu
        self.entries: list[dict[str, Any]] = []
        self._generator = None if seed is None else np.random.default_rng(seed)

    @property
    def spent(self) -> float:
        """Share of the budget (of mu squared) that has been spent."""
        return float(sum(entry["share"] for entry in self.entries))

    def noise(self, sensitivity: float, share: float) -> float:
        """Standard deviation of the noise that a release of this L2 sensitivity needs."""
        return sensitivity / (self.mu * np.sqrt(share))

    def release(
        self, name: str, values: ArrayLike, sensitivity: float, share: float, *, others_than: str | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Values with noise, and the noise's standard deviation; the share is gone.

        Parameters
        ----------
        values : of any shape; exact statistics of the people.
        sensitivity : largest L2 distance between the values of neighbouring cohorts.
        share : of the budget, in terms of mu squared.
        others_than : the release, of at least this share, of other people than these: whoever differs is in one of the two only, so
            that this one costs nothing more (parallel composition).

        Raises
        ------
        ConnectomeError
            If the budget does not hold that share any more.
        """
        beside = sum(entry["share"] for entry in self.entries if entry["release"] == others_than)
        cost = max(share - beside, 0.0) if others_than else share
        if not share > 0 or self.spent + cost > 1 + 1e-9:
            raise ConnectomeError(f"the privacy budget is spent: {name!r} asks for {share:.3f} of it, {1 - self.spent:.3f} is left")
        sd = self.noise(sensitivity, share)
        self.entries.append({"release": name, "share": float(cost), "sensitivity": float(sensitivity), "noise": float(sd)})
        exact = np.asarray(values, np.float64)
        grid = 2.0 ** np.floor(np.log2(sd * FINE))
        return np.rint((exact + sd * self.normal(exact.shape)) / grid) * grid, sd

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normal noise of this shape."""
        if self._generator is not None:
            return self._generator.standard_normal(shape)
        size = int(np.prod(shape))
        words = np.frombuffer(token_bytes(8 * size), np.uint64) >> np.uint64(12)
        return ndtri((words.astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)


def delta_of(epsilon: float, mu: float) -> float:
    """The least delta for which a mechanism of Gaussian differential privacy ``mu`` is (epsilon, delta)-private."""
    if mu <= 0:
        return 0.0
    first, second = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(np.exp(first) * -np.expm1(min(second - first, 0.0)))


def epsilon_of(delta: float, mu: float) -> float:
    """The least epsilon for which a mechanism of Gaussian differential privacy ``mu`` is (epsilon, delta)-private."""
    if delta_of(0.0, mu) <= delta:
        return 0.0
    high = 1.0
    while delta_of(high, mu) > delta:
        high *= 2
    return float(brentq(lambda epsilon: delta_of(epsilon, mu) - delta, 0.0, high, xtol=1e-12, rtol=1e-12))


def largest_mu(epsilon: float, delta: float) -> float:
    """The largest ``mu`` of Gaussian differential privacy that keeps (epsilon, delta); never above it, but for 1e-12."""
    high = 1.0
    while delta_of(epsilon, high) < delta:
        high *= 2
    mu = float(brentq(lambda trial: delta_of(epsilon, trial) - delta, 0.0, high, xtol=1e-14, rtol=1e-13))
    while delta_of(epsilon, mu) > delta:
        mu *= 1 - 1e-13
    return mu
