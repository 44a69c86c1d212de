"""Drawing the next token from a row of logits, vectorised; each request has its own randomness.

Temperature is applied first, then top_k, top_p and min_p cut, as vLLM and Transformers do.
"""

import numpy as np
from numpy.typing import NDArray

from models.types import Sampling

__all__ = ["Sampler"]

# top_p usually keeps few tokens: these many are sorted first, all only if they do not suffice.
SORTED_FIRST = 256
GREEDY_BELOW = 1e-5  # a temperature that float32 could not divide by, and nobody could tell from 0


class Sampler:
    """One request's sampler. The stream of random numbers depends on its seed alone."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(_entropy(sampling.seed)))

    def pick(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> int:
        """Token id for `logits` of shape (vocabulary,); `allowed` masks what a grammar forbids."""
        sampling = self._sampling
        if sampling.temperature < GREEDY_BELOW or sampling.top_k == 1:
            best = int(logits.argmax())
            if allowed is None or allowed[best]:
                return best
            return int(np.where(allowed, logits, -np.inf).argmax())
        if allowed is None:
            return self._draw(logits)
        ids = np.flatnonzero(allowed)
        return int(ids[self._draw(logits[ids])])

    def _draw(self, logits: NDArray[np.float32]) -> int:
        sampling = self._sampling
        ids: NDArray[np.intp] | None = None
        if 0 < sampling.top_k < len(logits):
            ids = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
            logits = logits[ids]
        scaled: NDArray[np.float32] = (logits - logits.max()) / np.float32(sampling.temperature)
        weights: NDArray[np.float32] = np.exp(scaled)
        if sampling.top_p < 1:
            kept = _nucleus(weights, sampling.top_p)
            weights = weights[kept]
            ids = kept if ids is None else ids[kept]
        if sampling.min_p > 0:
            weights = np.where(weights >= sampling.min_p * weights.max(), weights, 0)
        heights: NDArray[np.float64] = weights.cumsum(dtype=np.float64)
        drawn = self._random.random() * float(heights[-1])
        at = int(np.searchsorted(heights, drawn, side="right"))
        at = min(at, len(weights) - 1)
        return at if ids is None else int(ids[at])


def _entropy(seed: int | None) -> int | None:
    """NumPy takes no negative seeds, the API does: as 64 unsigned bits they stay distinct."""
    return None if seed is None else seed & (2**64 - 1)


def _nucleus(weights: NDArray[np.float32], top_p: float) -> NDArray[np.intp]:
    """Indices of the fewest largest weights that hold `top_p` of the sum, largest first."""
    target = top_p * float(weights.sum(dtype=np.float64))
    for size in (SORTED_FIRST, len(weights)):
        if size < len(weights):
            largest = np.argpartition(weights, -size)[-size:]
        else:
            largest = np.arange(len(weights))
        order = largest[np.argsort(-weights[largest], kind="stable")]
        heights = weights[order].cumsum(dtype=np.float64)
        if heights[-1] >= target or size >= len(weights):
            return order[: int(heights.searchsorted(target)) + 1]
    raise AssertionError("unreachable")
