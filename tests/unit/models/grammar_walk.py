"""Random answers under a grammar, without a model: a walk over the tokens that it allows."""

import random
from functools import cache

import llguidance

from models.types import Constraint
from models.worker.structured import Grammars

__all__ = ["Vocabulary", "vocabulary"]

CLOSING = b'"]})\n'


class Vocabulary:
    """A token for each byte, and the grammars over them."""

    def __init__(self) -> None:
        self._tokens = llguidance.LLTokenizer("byte")
        size = self._tokens.vocab_size
        self._end = self._tokens.eos_token
        self.grammars = Grammars(lambda: self._tokens, lambda text: [text], size)
        self._pieces = [self._tokens.decode_bytes([token]) for token in range(size)]
        self._closing = [any(byte in piece for byte in CLOSING) for piece in self._pieces]

    def walk(self, constraint: Constraint, seed: int, limit: int = 400) -> str | None:
        """A random text that the grammar takes, or None where it has no end within `limit` tokens.

        Brackets and strings are closed more and more eagerly, so that most walks end.
        """
        matcher = self.grammars.compile(constraint).result().copy()
        draw = random.Random(seed)
        found: list[int] = []
        while len(found) < limit:
            allowed = matcher.allowed().nonzero()[0].tolist()
            assert allowed, f"nothing may follow {self._text(found)!r}"
            ends = [token for token in allowed if token == self._end]
            closing = [token for token in allowed if self._closing[token]]
            eager = draw.random() < 0.2 + 2 * len(found) / limit
            if ends and (eager or len(ends) == len(allowed)):
                return self._text(found)
            token = draw.choice(closing if closing and eager else allowed)
            if token == self._end:
                return self._text(found)
            matcher.consume(token)
            found.append(token)
            for forced in matcher.forced():
                matcher.consume(forced)
                found.append(forced)
            if matcher.stopped:
                return self._text(found)
        return None

    def _text(self, tokens: list[int]) -> str:
        return b"".join(self._pieces[token] for token in tokens).decode("utf-8")


@cache
def vocabulary() -> Vocabulary:
    """Made once."""
    return Vocabulary()
