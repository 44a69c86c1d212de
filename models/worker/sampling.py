"""Drawing the next token from a row of logits, vectorised; each request has its own randomness.

In this order: biases and penalties, what a grammar forbids, temperature, then the cuts top_k,
typical_p, top_p and min_p, as vLLM and Transformers have it.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.types import Sampling

__all__ = ["Grammar", "Sampler", "log_probabilities"]

Row = NDArray[np.float32]

SURELY = 0.999  # what sums round off must not leave out too much
GREEDY_BELOW = 1e-5  # a temperature that float32 could not divide by, and nobody could tell from 0
BLOCK = 256  # sums of blocks are added up in float64, not every weight
LARGEST = float(np.finfo(np.float32).max)


class Grammar(Protocol):
    """Says which tokens may come next."""

    def allows(self, token: int) -> bool:
        """Whether this one may."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """Shape (vocabulary,): True for each that may."""
        ...


class Sampler:
    """One request's sampler. The stream of random numbers depends on its seed alone.

    `prompt` are the tokens that repetition counts besides the answer's own; `ends` the tokens
    that `ignore_eos` forbids.
    """

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int] = (), ends: Collection[int] = ()
    ) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(_entropy(sampling.seed)))
        self._made: Counter[int] = Counter()
        self._seen: set[int] = set(prompt) if sampling.repetition_penalty != 1 else set()
        self._forbidden = np.array(sorted(ends) if sampling.ignore_eos else [], np.intp)
        self._biased = np.array([token for token, _ in sampling.logit_bias], np.intp)
        self._biases = np.array([bias for _, bias in sampling.logit_bias], np.float32)
        self._counts = bool(sampling.presence_penalty or sampling.frequency_penalty)
        self._cuts = bool(
            sampling.top_k or sampling.min_p or sampling.top_p < 1 or sampling.typical_p < 1
        )
        self._edits = bool(
            self._counts
            or sampling.repetition_penalty != 1
            or len(self._forbidden)
            or len(self._biased)
        )

    def accept(self, token: int) -> None:
        """The answer goes on with this token, drawn or forced."""
        if self._counts:
            self._made[token] += 1
        if self._sampling.repetition_penalty != 1:
            self._seen.add(token)

    def pick(self, logits: Row, grammar: Grammar | None = None) -> int:
        """Token id for `logits` of shape (vocabulary,), of those that the grammar allows.

        Raises ModelError where none of them has a finite logit, or any is not a number.
        """
        if self._edits:
            logits = self._edited(logits)
        if self._sampling.temperature < GREEDY_BELOW or self._sampling.top_k == 1:
            best = _likeliest(logits)
            if grammar is None or grammar.allows(best):
                return best
            return _likeliest(np.where(grammar.allowed(), logits, -np.inf))
        if grammar is None:
            return self._draw(logits)
        if not self._cuts:
            # What is drawn from all tokens and allowed is as likely as if drawn from those allowed;
            # to ask about one token costs a tenth of asking about all.
            token = self._draw(logits)
            if grammar.allows(token):
                return token
        ids = np.flatnonzero(grammar.allowed())
        return int(ids[self._draw(logits[ids])])

    def _edited(self, logits: Row) -> Row:
        """A copy with biases and penalties; the caller's row stays what the model said."""
        sampling = self._sampling
        edited: Row = logits.copy()
        if self._seen:
            seen = np.fromiter(self._seen, np.intp, len(self._seen))
            values = edited[seen].astype(np.float64)
            penalty = sampling.repetition_penalty
            with np.errstate(over="ignore"):
                values = np.where(values > 0, values / penalty, values * penalty)
            # The API takes any penalty above 0; what outgrows float32 would be no number later.
            edited[seen] = np.clip(values, -LARGEST, LARGEST)
        if self._made:
            made = np.fromiter(self._made, np.intp, len(self._made))
            counts = np.fromiter(self._made.values(), np.float32, len(self._made))
            edited[made] -= sampling.frequency_penalty * counts + sampling.presence_penalty
        edited[self._biased] += self._biases
        edited[self._forbidden] = -np.inf
        return edited

    def _draw(self, logits: Row) -> int:
        sampling = self._sampling
        ids: NDArray[np.intp] | None = None
        if 0 < sampling.top_k < len(logits):
            ids = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
            logits = logits[ids]
        with np.errstate(over="ignore"):  # to -inf, the weight of which is 0
            scaled: Row = logits - logits[_likeliest(logits)]
            scaled *= np.float32(1 / sampling.temperature)
        weights: Row = np.exp(scaled, out=scaled)
        for kept in self._kept(weights):
            weights = weights[kept]
            ids = kept if ids is None else ids[kept]
        if sampling.min_p > 0:
            weights = np.where(weights >= sampling.min_p * weights.max(), weights, 0)
        at = _at(weights, self._random.random())
        return at if ids is None else int(ids[at])

    def _kept(self, weights: Row) -> list[NDArray[np.intp]]:
        """Indices to keep, each into what the one before kept."""
        kept: list[NDArray[np.intp]] = []
        if self._sampling.typical_p < 1:
            kept.append(_typical(weights, self._sampling.typical_p))
            weights = weights[kept[-1]]
        if self._sampling.top_p < 1:
            kept.append(_nucleus(weights, self._sampling.top_p))
        return kept


def log_probabilities(logits: Row, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """The token's natural log probability, and the `top` likeliest tokens with theirs.

    Of the model's own distribution: before biases, penalties, temperature and cuts.
    """
    highest = logits.max()
    total = np.exp(logits - highest).sum(dtype=np.float64)
    normaliser = float(highest) + float(np.log(total))
    if top == 0:
        return float(logits[token]) - normaliser, []
    best = np.argpartition(logits, -top)[-top:]
    best = best[np.argsort(-logits[best], kind="stable")]
    return (
        float(logits[token]) - normaliser,
        [(int(each), float(logits[each]) - normaliser) for each in best],
    )


def _entropy(seed: int | None) -> int | None:
    """NumPy takes no negative seeds, the API does: as 64 unsigned bits they stay distinct."""
    return None if seed is None else seed & (2**64 - 1)


def _likeliest(logits: Row) -> int:
    """Index of the largest. NumPy takes one that is not a number for the largest of all."""
    best = int(logits.argmax())
    if not math.isfinite(logits[best]):
        raise ModelError("The model gave no token a finite score, so that none can be drawn.")
    return best


def _at(weights: Row, uniform: float) -> int:
    """The index at `uniform` of the weights' sum, which is never one of weight zero."""
    sums = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK)).astype(np.float64)
    heights: NDArray[np.float64] = sums.cumsum()
    drawn = min(uniform * float(heights[-1]), _below(heights[-1]))
    block = int(heights.searchsorted(drawn, side="right"))
    begin = block * BLOCK
    inside: NDArray[np.float64] = weights[begin : begin + BLOCK].cumsum(dtype=np.float64)
    # The sums may round differently inside the block: stay within its weights that count.
    rest = drawn - float(heights[block] - sums[block])
    return begin + int(inside.searchsorted(max(0.0, min(rest, _below(inside[-1]))), side="right"))


def _below(value: np.float64) -> float:
    return float(np.nextafter(value, 0.0))


def _typical(weights: Row, mass: float) -> NDArray[np.intp]:
    """Indices of those whose surprise is nearest to the expected one, up to `mass`."""
    probabilities = weights / weights.sum(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(probabilities)
        entropy = np.nansum(probabilities * surprise)
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    heights = probabilities[order].cumsum()
    return order[: int(heights.searchsorted(mass)) + 1]


def _nucleus(weights: Row, top_p: float) -> NDArray[np.intp]:
    """Indices of the fewest largest weights that hold `top_p` of the sum, largest first."""
    total = float(weights.sum(dtype=np.float64))
    # All below this together have less than is left out: only the others need be sorted.
    least = (1 - top_p) * total / len(weights) * SURELY
    largest = np.flatnonzero(weights >= least)
    order = largest[np.argsort(-weights[largest], kind="stable")]
    heights = weights[order].cumsum(dtype=np.float64)
    return order[: int(heights.searchsorted(top_p * total)) + 1]
