"""When to ask a failing server again. Pure but for the clock that is passed in."""

import time
from collections.abc import Callable
from typing import Literal

__all__ = ["Circuit", "backoff"]

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0


class Circuit:
    """A breaker: open after so many failures in a row, and then nobody asks for `cooldown_s`.

    After that a single request tries (half-open): if it fails the circuit is open anew, and if
    it succeeds, closed.
    """

    def __init__(
        self, failures: int, cooldown_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """Half-open once the time is up, whether or not somebody is trying."""
        if self._opened is None:
            return "closed"
        return "open" if self.wait_s > 0 else "half-open"

    @property
    def wait_s(self) -> float:
        """Seconds until somebody may try; 0 if now."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self._cooldown_s - self._clock())

    def admit(self) -> bool:
        """Whether to ask now. One that is admitted must say what came of it."""
        if self._opened is None:
            return True
        if self.wait_s > 0 or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """It answered, be it that the request is wrong."""
        self._failures, self._opened, self._probing = 0, None, False

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        if self._probing or self._failures >= self._most:
            self._opened = self._clock()
        self._probing = False

    def abandoned(self) -> None:
        """Nothing is known: the asker went away."""
        self._probing = False


def backoff(attempt: int, jitter: float) -> float:
    """Seconds before repetition number `attempt` (from 0); `jitter` is in [0, 1).

    Between half of a doubling wait and all of it, so that many askers spread.
    """
    wait = min(FIRST_BACKOFF_S * 2**attempt, LONGEST_BACKOFF_S)
    return wait * (0.5 + jitter / 2)
