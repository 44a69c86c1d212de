"""What waits to be embedded or rated, and when a refused client should come back. No clock."""

from models.errors import QueueFull

__all__ = ["CHARACTERS_OF_A_TOKEN", "MAX_WAITING", "Backlog"]

MAX_WAITING = 4_000_000  # characters of an owner's requests, about a million tokens; then 429
CHARACTERS_OF_A_TOKEN = 4  # about
FIRST_GUESS = 4000.0  # tokens a second, until they are measured
LONGEST_RETRY_S = 600.0


class Backlog:
    """Characters of each owner's requests. `done` is what becomes of them: "embedded"."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._waiting: dict[str, int] = {}
        self._pace = FIRST_GUESS

    def check(self, owner: str, size: int) -> None:
        """Raise QueueFull where so many more are too many.

        One that finds nothing of its owner's before it is taken whatever its size.
        """
        waiting = self._waiting.get(owner, 0)
        if waiting and waiting + size > MAX_WAITING:
            seconds = waiting / CHARACTERS_OF_A_TOKEN / self._pace
            raise QueueFull(
                f"{waiting} characters already wait to be {self._done}, and this request has "
                f"{size}; at most {MAX_WAITING} may wait.",
                min(max(1.0, seconds), LONGEST_RETRY_S),
            )

    def add(self, owner: str, size: int) -> None:
        """A request came."""
        self._waiting[owner] = self._waiting.get(owner, 0) + size

    def remove(self, owner: str, size: int) -> None:
        """It is done, or nobody waits for it any more."""
        left = self._waiting.pop(owner, 0) - size
        if left:  # an empty text has no characters: there may be nothing to remove
            self._waiting[owner] = left

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def observe(self, tokens: int, seconds: float) -> None:
        """So many took that long."""
        self._pace += 0.2 * (tokens / seconds - self._pace)
