"""How well numbers or classes were predicted, and whether probabilities mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.evaluation.targets import score_predictions

__all__ = ["CLASS_SCORES", "LOWER_IS_BETTER", "NUMBER_SCORES", "calibration_table", "null_of", "score_names", "scored"]

NUMBER_SCORES = ("mae", "r", "r2", "calibration_slope")
CLASS_SCORES = ("auc", "balanced_accuracy", "log_loss", "brier", "ece", "calibration_slope")
LOWER_IS_BETTER = ("mae", "log_loss", "brier", "ece")

BINS = 10
LEAST_PROBABILITY = 1e-12
NEWTON_STEPS = 30


def score_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the scores of numbers or classes, the first one the headline."""
    return CLASS_SCORES if classes else NUMBER_SCORES


def null_of(score: str, n_classes: int) -> float:
    """What a prediction that knows nothing scores; NaN where that depends on the people."""
    return {"r": 0.0, "r2": 0.0, "auc": 0.5, "balanced_accuracy": 1 / max(n_classes, 1)}.get(score, float("nan"))


def scored(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray | None = None) -> dict[str, NDArray[np.float64]]:
    """Scores of predictions under each of several weightings of people.

    Numbers: ``mae`` in the target's unit, Pearson's ``r``, ``r2`` = 1 - sum (t - p)^2 / sum (t - mean t)^2, ``calibration_slope`` of the
    truth on the prediction (1 where predictions are neither too far apart nor too close). Classes: ``auc`` (of several classes the mean of
    each against the others), ``balanced_accuracy`` (mean over classes of the share recognised), ``log_loss`` in nats, ``brier`` (sum over
    classes of squared differences; of two classes half of that, so that .25 is a coin's), ``ece`` (mean distance of the probability said
    and the share found, in 10 bins of equal width: of the second of two classes, or of the most probable of more), ``calibration_slope``
    of the log odds of the truth on those said (Cox 1958; of several classes each against the others together).

    Parameters
    ----------
    truth : (N,) numbers, or (N, K) classes as 0 and 1.
    predicted : (N,) numbers, or (N, K) probabilities.
    weights : (B, N) how often each person counts; default everybody once.

    Returns
    -------
    scores : name and (B,) values; NaN where undefined.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights.astype(np.float64)
    if truth.ndim == 1:
        found = score_predictions(truth, predicted, weights)
        return {"mae": found["mae"], "r": found["r"], "r2": found["r2"], "calibration_slope": _line(truth, predicted, weights)}
    total = weights.sum(1)
    safe = np.clip(predicted, LEAST_PROBABILITY, 1)
    right = predicted.argmax(1) == truth.argmax(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        recognised = (weights * right) @ truth / (weights @ truth)  # a class that nobody drawn has: NaN, left out
        present = np.isfinite(recognised)
        balanced = np.where(present, recognised, 0).sum(1) / np.where(present.any(1), present.sum(1), np.nan)
    squares = ((truth - predicted) ** 2).sum(1) / (2 if truth.shape[1] == 2 else 1)
    said, found_true = _said(truth, predicted)
    return {
        "auc": score_predictions(truth, predicted, weights, ["auc"])["auc"],
        "balanced_accuracy": balanced,
        "log_loss": weights @ -(truth * np.log(safe)).sum(1) / total,
        "brier": weights @ squares / total,
        "ece": np.abs((weights * (found_true - said)) @ _bins(said)).sum(1) / total,
        "calibration_slope": _logistic_slope(truth, safe, weights),
    }


def calibration_table(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> pd.DataFrame:
    """Calibration curve: people in bins of what was said, and what was found.

    Returns
    -------
    table : one row a bin with people: ``bin``, ``predicted`` and ``observed`` (means), ``low``, ``high`` (95 %: Wilson's interval of a
        share, or the mean plus and minus 1.96 standard errors), ``n``. Numbers in tenths of the people; classes in 10 bins of equal width.
    """
    from scipy.stats import norm

    if truth.ndim == 2:
        said, found = _said(truth, predicted)
        place = _bins(said).argmax(1)
    else:
        said, found = predicted, truth
        place = np.argsort(np.argsort(said, kind="stable"), kind="stable") * min(BINS, len(said)) // len(said)
    z, rows = float(norm.ppf(0.975)), []
    for one in np.unique(place):
        members = place == one
        n, mean = int(members.sum()), float(found[members].mean())
        if truth.ndim == 2:
            centre, width = (
                (mean + z**2 / (2 * n)) / (1 + z**2 / n),
                z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2)),
            )
        else:
            centre, width = mean, z * float(found[members].std(ddof=1)) / np.sqrt(n) if n > 1 else np.nan
        rows.append(
            {
                "bin": int(one) + 1,
                "predicted": float(said[members].mean()),
                "observed": mean,
                "low": centre - width,
                "high": centre + width,
                "n": n,
            }
        )
    return pd.DataFrame(rows)


def _said(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The probability whose calibration is judged, (N,), and whether what it was said of is true."""
    if truth.shape[1] == 2:
        return predicted[:, 1], truth[:, 1]
    top = predicted.argmax(1)
    rows = np.arange(len(top))
    return predicted[rows, top], truth[rows, top]


def _bins(said: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, bins) which bin each probability is in, as 0 and 1."""
    return (np.minimum((said * BINS).astype(int), BINS - 1)[:, None] == np.arange(BINS)).astype(np.float64)


def _line(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope (B,) of the truth on the prediction; NaN where predictions are alike."""
    total = weights.sum(1)
    t, p = truth - truth.mean(), predicted - predicted.mean()
    t_mean, p_mean = weights @ t / total, weights @ p / total
    variance = weights @ p**2 / total - p_mean**2
    shared = weights @ (t * p) / total - t_mean * p_mean
    alike = variance <= (1e-9 * max(float(np.abs(predicted).max()), 1e-300)) ** 2
    return np.where(alike, np.nan, shared / np.where(alike, 1, variance))


def _logistic_slope(truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope (B,) of a logistic regression of the truth on the log odds said; NaN where these are alike or separate."""
    places: Any = [1] if truth.shape[1] == 2 else range(truth.shape[1])
    p = np.clip(np.concatenate([predicted[:, place] for place in places]), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    y, w = np.concatenate([truth[:, place] for place in places]), np.tile(weights, len(places))
    odds = np.log(p / (1 - p))
    spread = float(odds.std())
    if spread < 1e-9:
        return np.full(len(weights), np.nan)
    x, centre = (odds - odds.mean()) / spread, odds.mean() / spread
    slope, level = np.full(len(w), spread), np.full(len(w), centre * spread)
    for _ in range(NEWTON_STEPS):
        said = 1 / (1 + np.exp(-np.clip(slope[:, None] * x + level[:, None], -30, 30)))
        left, curve = w * (y - said), w * np.maximum(said * (1 - said), 1e-10)
        a, b, c = curve.sum(1), curve @ x, curve @ x**2
        determinant = np.maximum(a * c - b**2, 1e-12)
        by_level, by_slope = left.sum(1), left @ x
        step_level, step_slope = (c * by_level - b * by_slope) / determinant, (a * by_slope - b * by_level) / determinant
        level, slope = level + np.clip(step_level, -2, 2), slope + np.clip(step_slope, -2, 2)
        if max(np.abs(step_level).max(), np.abs(step_slope).max()) < 1e-9:
            break
    settled = (np.abs(step_slope) < 1e-4) & (np.abs(slope) < 25)
    return np.where(settled, slope / spread, np.nan)
