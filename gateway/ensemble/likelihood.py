"""How sure a member was of its value: the probability of the value's own tokens. Pure."""

import math
from collections.abc import Sequence

from models.types import TokenLogprob

__all__ = ["OPENING", "likelihood_of", "log_likelihood_of"]

OPENING = b'"answer_value":'


def likelihood_of(tokens: Sequence[TokenLogprob]) -> float | None:
    """The geometric mean of the probabilities of the value's tokens, 0..1; None if it has none."""
    mean = log_likelihood_of(tokens)
    return None if mean is None else math.exp(mean)


def log_likelihood_of(tokens: Sequence[TokenLogprob]) -> float | None:
    """The mean log probability of the value's tokens, in nats, at most 0; None if it has none.

    `tokens` are a whole answer's. The mean, as a long value is not less sure for its length.
    """
    written = b"".join(token.piece for token in tokens)
    at = written.find(OPENING)
    if at < 0:
        return None
    start = written.find(b'"', at + len(OPENING)) + 1
    end = _closing(written, start)
    logs: list[float] = []
    place = 0
    for token in tokens:
        before, place = place, place + len(token.piece)
        if before < end and place > start:
            logs.append(token.logprob)
    return min(0.0, sum(logs) / len(logs)) if start and logs and end > start else None


def _closing(text: bytes, start: int) -> int:
    """Where the string that begins at `start` ends."""
    at = start
    while at < len(text) and text[at : at + 1] != b'"':
        at += 2 if text[at : at + 1] == b"\\" else 1
    return at
