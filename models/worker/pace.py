"""What was measured, and what follows from it: sizes of steps, and when to come back. No clock."""

from dataclasses import dataclass

__all__ = ["Budget", "Pace", "Turnover"]

# Seconds that a refused client is told to wait. OpenAI's SDK gives up on more than 120.
SOONEST_S, LATEST_S = 1.0, 120.0


@dataclass(frozen=True)
class Budget:
    """Prompt tokens that may join a step in which others stream."""

    paced: int  # of long prompts together
    short: int  # a prompt of at most so many is prefilled whole


@dataclass
class Pace:
    """How many prompt tokens fit beside running streams, from the measured cost of steps.

    Pieces of a long prompt slow each of many steps, so they are small: such a step takes `slowdown`
    times as long as one without. What a token of a piece costs is measured by itself: it grows with
    the prompt, since each looks at all before it, and small pieces cost more a token than whole
    prompts. A short prompt interrupts the streams once, and is cheapest in one piece.
    """

    slowdown: float = 3.0
    smallest: int = 8  # keeps a prefill going where attention to a long prompt is slow
    short_ms: float = 600.0
    token_ms: float = 0.0  # of a prompt token, in a step of prompts alone
    piece_ms: float = 0.0  # of a prompt token, beside streams
    step_ms: float = 0.0  # of a step without prompt tokens

    def observe(self, tokens: int, prefill_tokens: int, milliseconds: float) -> None:
        """A step of `tokens`, of which `prefill_tokens` were of prompts, took that long."""
        if prefill_tokens == 0:
            self.step_ms = _blend(self.step_ms, milliseconds)
        elif prefill_tokens == tokens:
            self.token_ms = _blend(self.token_ms, milliseconds / tokens)
        elif self.step_ms:
            extra_ms = max(0.0, milliseconds - self.step_ms)
            self.piece_ms = _blend(self.piece_ms, extra_ms / prefill_tokens)

    def budget(self, largest: int) -> Budget:
        """Of a step that holds `largest` tokens."""
        extra_ms = (self.slowdown - 1) * self.step_ms
        return Budget(
            self._tokens(extra_ms, self.piece_ms or self.token_ms, largest),
            self._tokens(self.short_ms, self.token_ms, largest),
        )

    def _tokens(self, milliseconds: float, each_ms: float, largest: int) -> int:
        fit = int(min(milliseconds / each_ms, largest)) if each_ms > 0 else 0
        return max(fit, min(self.smallest, largest))


@dataclass
class Turnover:
    """How long a request occupies its place, from those that ended lately."""

    each_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """One ended, so long after it had got its place."""
        self.each_s = _blend(self.each_s, seconds)

    def retry_after_s(self, ahead: int, places: int, oldest_s: float) -> float:
        """When the `ahead` requests that wait will all have begun, `places` of them at a time.

        Until one has ended nothing is known but that they take as long as the one that has had
        its place for longest, `oldest_s`.
        """
        each_s = self.each_s if self.each_s > 0 else oldest_s
        return min(max(ahead * each_s / max(places, 1), SOONEST_S), LATEST_S)


def _blend(old: float, new: float) -> float:
    return new if old <= 0 else 0.8 * old + 0.2 * new
