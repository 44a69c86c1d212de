"""How sure a figure is: bootstrap over questions. Pure; the same seed gives the same resamples.

Several runs over the same questions are resampled together, so that their differences are paired.
"""

from collections import Counter
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Difference", "Interval", "difference", "interval", "resampled_means"]

LEVEL = 0.95
ALIKE = 4  # rows to one kind of row, from which on kinds are drawn and not rows
BLOCK = 1000  # resamples drawn at once

Array = NDArray[np.float64]


class Interval(Struct, frozen=True, array_like=True):
    """The central 95 % of what resampling gives."""

    low: float
    high: float


class Difference(Struct, frozen=True, kw_only=True):
    """A figure of one run less another's. `beats` only where the interval lies above zero."""

    mean: float
    low: float
    high: float

    @property
    def beats(self) -> bool:
        """Whether it is better beyond doubt."""
        return self.low > 0

    @property
    def loses(self) -> bool:
        """Whether it is worse beyond doubt."""
        return self.high < 0

    @property
    def verdict(self) -> str:
        """In a word."""
        return "beats" if self.beats else "loses" if self.loses else "no difference shown"


def resampled_means(parts: NDArray[Any], rounds: int, seed: int) -> Array:
    """Means of columns over resamples of the rows: `(n, m)` gives `(rounds, m)`."""
    n = len(parts)
    random = np.random.default_rng(seed)
    means = np.empty((rounds, parts.shape[1]))
    listed: list[list[float]] = parts.tolist()
    kinds = Counter(map(tuple, listed))
    if len(kinds) * ALIKE <= n:
        # How often each kind is drawn is multinomial: a few numbers, however many rows.
        shares = np.fromiter(kinds.values(), dtype=float) / n
        rows = np.array(list(kinds))
        for at in range(0, rounds, BLOCK):
            drawn = random.multinomial(n, shares, size=min(BLOCK, rounds - at))
            means[at : at + BLOCK] = drawn @ rows
        return means / n
    for at in range(rounds):
        # How often each row was drawn: one small vector, whatever the number of rounds.
        drawn = np.bincount(random.integers(0, n, n), minlength=n)
        means[at] = drawn @ parts
    return means / n


def interval(samples: Array) -> Interval:
    """The central 95 % of the samples of one figure."""
    # As np.percentile, which would load masked arrays for it.
    places = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]) * (len(samples) - 1)
    low, high = np.interp(places, np.arange(len(samples)), np.sort(samples))
    return Interval(float(low), float(high))


def difference(value: float, samples: Array) -> Difference:
    """An observed difference with the interval of its resamples."""
    found = interval(samples)
    return Difference(mean=value, low=found.low, high=found.high)
