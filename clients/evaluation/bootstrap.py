"""How sure a figure is: bootstrap over questions. Pure; the same seed gives the same resamples.

Several runs over the same questions are resampled together, so that their differences are paired.
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Difference", "Interval", "difference", "interval", "resampled_means"]

LEVEL = 0.95

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
    for at in range(rounds):
        # How often each row was drawn: one small vector, whatever the number of rounds.
        drawn = np.bincount(random.integers(0, n, n), minlength=n)
        means[at] = drawn @ parts
    return means / n


def interval(samples: Array) -> Interval:
    """The central 95 % of the samples of one figure."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(samples, [tail, 100 - tail])
    return Interval(float(low), float(high))


def difference(value: float, samples: Array) -> Difference:
    """An observed difference with the interval of its resamples."""
    found = interval(samples)
    return Difference(mean=value, low=found.low, high=found.high)
