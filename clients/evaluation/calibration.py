"""Learning how likely an answer is right from its features, and how far that can be believed. Pure.

The model is the gateway's own (`gateway/ensemble/confidence.py`): a logistic one over features from
0 to 1, whose coefficients stand in an ensemble's file.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Bin", "Reliability", "fit", "likely", "reliability"]

RIDGE = 1.0  # of a feature in units of its spread: a belief that it says nothing
LEAST_SPREAD = 0.05  # a feature that hardly differs has no large coefficient for it
BIAS_RIDGE = 0.01  # so that a bias stays finite where every answer is right
STEPS = 100
CLOSE = 1e-8
BINS = 10
DECIMALS = 3

Array = NDArray[np.float64]


class Bin(Struct, frozen=True, kw_only=True):
    """Answers whose confidence lies between `low` and `high`: how sure, and how often right."""

    low: float
    high: float
    answers: int
    confidence: float
    right: float


class Reliability(Struct, frozen=True, kw_only=True):
    """`ece`: the mean distance of confidence from what came true, bins weighed by their answers;
    `brier`: the mean square of it, answer by answer. Both are best at 0."""

    ece: float
    brier: float
    answers: int
    bins: list[Bin]


def fit(features: Array, right: NDArray[np.bool_], names: Sequence[str]) -> dict[str, float]:
    """Coefficients by `names` and "bias", from `(answers, features)` and whether each was right.

    Ridge regression by Newton's method. Features that never differ have no coefficient.
    """
    varied = [at for at in range(len(names)) if len(set(features[:, at])) > 1]
    kept = features[:, varied]
    middle = kept.mean(axis=0) if len(kept) else np.zeros(0)
    spread = np.maximum(kept.std(axis=0), LEAST_SPREAD) if len(kept) else np.ones(0)
    design = np.column_stack([np.ones(len(kept)), (kept - middle) / spread])
    ridge = np.full(design.shape[1], RIDGE)
    ridge[0] = BIAS_RIDGE
    wanted = right.astype(float)
    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        given = _logistic(design @ found)
        slope = design.T @ (given - wanted) + ridge * found
        curve = (design * (given * (1 - given))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        # A full step can overshoot where answers are nearly told apart: halve it until it helps.
        size, before = 1.0, _loss(design, wanted, found, ridge)
        while size > CLOSE and _loss(design, wanted, found - size * step, ridge) > before:
            size /= 2
        found -= size * step
        if np.abs(size * step).max() < CLOSE:
            break
    found[1:] /= spread
    found[0] -= found[1:] @ middle
    known = ["bias", *(names[at] for at in varied)]
    return {name: round(float(value), DECIMALS) for name, value in zip(known, found, strict=True)}


def likely(features: Array, coefficients: Mapping[str, float], names: Sequence[str]) -> Array:
    """The probability that each answer is right; what has no coefficient does not count."""
    weights = np.array([coefficients.get(name, 0.0) for name in names])
    return _logistic(features @ weights + coefficients.get("bias", 0.0))


def reliability(confidence: Array, right: NDArray[np.bool_]) -> Reliability:
    """How confidence and truth agree; bins without answers are left out."""
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        Bin(
            low=at / BINS,
            high=(at + 1) / BINS,
            answers=int(chosen.sum()),
            confidence=float(confidence[chosen].mean()),
            right=float(right[chosen].mean()),
        )
        for at in range(BINS)
        if (chosen := places == at).any()
    ]
    total = max(1, len(confidence))
    return Reliability(
        ece=sum(one.answers * abs(one.confidence - one.right) for one in bins) / total,
        brier=float(((confidence - right) ** 2).sum()) / total,
        answers=len(confidence),
        bins=bins,
    )


def _logistic(scores: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(scores, -60, 60)))


def _loss(design: Array, wanted: Array, found: Array, ridge: Array) -> float:
    scores = design @ found
    return float((np.logaddexp(0, scores) - wanted * scores).sum() + 0.5 * (ridge * found**2).sum())
