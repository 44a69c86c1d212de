"""Prefixes of finished requests, moved from the KV cache to host memory. Pure policy.

Attention spans every cell in use, idle ones too, so a finished prompt costs each later step of
everybody. Copied out it costs nothing, and comes back in milliseconds where a prefill takes
seconds. What is copied is opaque here: any object with a length in bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.worker.prefix import common_prefix

__all__ = ["Parked", "ParkedPrefixes"]

# Fewer tokens are computed again as fast as they are copied, looked up and kept.
WORTH_PARKING = 32
# A prefix that branches off a parked one is parked too if so much of it is new: voters over one
# context differ in their last few tokens only, and the context need not be held for each.
NEW_SHARE = 0.25


@dataclass(eq=False)
class Parked:
    """Tokens and the state of the KV cache after them."""

    scope: str
    tokens: list[int]
    state: Any  # opaque; len() is its bytes
    used_at: int = 0


class ParkedPrefixes:
    """At most `budget` bytes; the least recently used give way."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._parked: list[Parked] = []
        self._clock = 0
        self._longest = 0  # tokens of the longest prefix that the budget holds
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._parked)

    def best(self, tokens: Sequence[int], scope: str) -> tuple[Parked | None, int]:
        """What shares most of its beginning with `tokens`, and how many tokens that is."""
        best, length = None, 0
        for parked in self._parked:
            if parked.scope == scope:
                shared = common_prefix(parked.tokens, tokens)
                if shared > length:
                    best, length = parked, shared
        return best, length

    def learn(self, tokens: int, size: int) -> None:
        """So many tokens make a state of so many bytes. Until it knows, it wants nothing."""
        self._longest = self.budget * tokens // size

    def fits(self, length: int) -> bool:
        """Whether so many tokens may be parked at all."""
        return length <= self._longest

    def wants(self, tokens: Sequence[int], scope: str) -> bool:
        """Whether a sequence about to leave the cache is worth a copy."""
        if not self.fits(len(tokens)):
            return False
        found, known = self.best(tokens, scope)
        new = len(tokens) - known
        if found is not None and known == len(found.tokens):
            return new >= WORTH_PARKING  # it will replace what it continues
        return new >= max(WORTH_PARKING, NEW_SHARE * len(tokens))

    def add(self, tokens: Sequence[int], scope: str, state: Any) -> None:
        """Keep a sequence; what it continues goes, then the least recently used."""
        size = len(state)
        if size > self.budget:
            self.learn(len(tokens), size)
            return
        for parked in list(self._parked):
            if parked.scope == scope and common_prefix(parked.tokens, tokens) == len(parked.tokens):
                self._drop(parked)
        self._make_room(size)
        added = Parked(scope, list(tokens), state)
        self._parked.append(added)
        self.bytes += size
        self.touch(added)

    def give(self, size: int) -> None:
        """So many bytes of the budget are needed for something else, from now on."""
        self._longest = self._longest * (self.budget - size) // self.budget
        self.budget -= size
        self._make_room(0)

    def touch(self, parked: Parked) -> None:
        """It was used now."""
        self._clock += 1
        parked.used_at = self._clock

    def _make_room(self, size: int) -> None:
        while self._parked and self.bytes + size > self.budget:
            self._drop(min(self._parked, key=lambda parked: parked.used_at))

    def _drop(self, parked: Parked) -> None:
        self._parked.remove(parked)
        self.bytes -= len(parked.state)
