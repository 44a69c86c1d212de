"""Tokens that follow a prompt and are not drawn but scored (teacher forcing)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.worker.sampling import log_probabilities

__all__ = ["Continuation"]

Score = tuple[float, list[tuple[int, float]]]


class Continuation:
    """The `tokens`, one at least, and the `scores` of those that were decoded so far."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tuple(tokens)
        self.scores: list[Score] = []

    @property
    def done(self) -> bool:
        """Whether every token has its score."""
        return len(self.scores) == len(self.tokens)

    def score(self, first: int, logits: NDArray[np.float32], top: int) -> None:
        """Score tokens from number `first` on by rows of shape (count, vocabulary).

        After an interruption some come again: the later scores stand.
        """
        del self.scores[first:]
        for token, row in zip(self.tokens[first:], logits, strict=False):
            self.scores.append(log_probabilities(row, token, top))
