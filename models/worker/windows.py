"""Which windows of text the next forward pass takes: fair to all who wait, and alike in length.

Pure: it knows neither model nor clock.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

__all__ = ["Window", "WindowQueue", "round_robin"]

LOOKAHEAD = 512  # windows among which those of like length are sought

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """What the model reads of input `row` of a request, at once: an input, or a part of it.

    `second` is where the second text of a pair begins; a single text has none.
    """

    request: int
    row: int
    tokens: list[int]
    second: int = 0


class WindowQueue:
    """Owners take turns, and each owner's requests do.

    One window leads each batch: that of the request whose turn it is. Windows near it in length
    fill the batch up, because the shorter ones of a batch are padded to its longest. So every
    request leads after as many batches as requests stand before it, however many windows they
    have: one text does not wait for the thousands of a request that came earlier.
    """

    def __init__(self, batch_tokens: int, batch_rows: int) -> None:
        self._batch_tokens = batch_tokens  # padded; a single longer window is a batch too
        self._batch_rows = batch_rows
        # In the order of their turns: owners, and the requests of each.
        self._owners: dict[str, dict[int, deque[Window]]] = {}
        self._owner_of: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self._owners)

    def add(self, owner: str, window: Window) -> None:
        """At the end of its request's windows; a new request takes the last turn of its owner."""
        self._owner_of[window.request] = owner
        self._owners.setdefault(owner, {}).setdefault(window.request, deque()).append(window)

    def remove(self, request: int) -> None:
        """Drop what waits of a request, if anything does."""
        owner = self._owner_of.pop(request, None)
        if owner is None:
            return
        del self._owners[owner][request]
        if not self._owners[owner]:
            del self._owners[owner]

    def take(self) -> list[Window]:
        """The next batch, never empty; only asked of a queue that holds something."""
        ahead = list(islice(self._in_turn(), LOOKAHEAD))
        size = len(ahead[0].tokens)
        batch: list[Window] = []
        longest = 0
        for window in sorted(ahead, key=lambda each: abs(len(each.tokens) - size)):
            longest = max(longest, len(window.tokens))
            if batch and longest * (len(batch) + 1) > self._batch_tokens:
                break
            batch.append(window)
            if len(batch) == self._batch_rows:
                break
        self._pass_turn(ahead[0].request)
        self._discard(batch)
        return batch

    def _in_turn(self) -> Iterator[Window]:
        return round_robin(round_robin(requests.values()) for requests in self._owners.values())

    def _pass_turn(self, request: int) -> None:
        owner = self._owner_of[request]
        requests = self._owners.pop(owner)
        requests[request] = requests.pop(request)
        self._owners[owner] = requests

    def _discard(self, batch: list[Window]) -> None:
        taken = set(batch)
        for request in {window.request for window in batch}:
            requests = self._owners[self._owner_of[request]]
            left = deque(window for window in requests[request] if window not in taken)
            if left:
                requests[request] = left
            else:
                self.remove(request)


def round_robin(sources: Iterable[Iterable[T]]) -> Iterator[T]:
    """One item of each source, then the next of each that has one, until all are empty."""
    turns = deque(iter(source) for source in sources)
    while turns:
        turn = turns.popleft()
        for item in turn:
            yield item
            turns.append(turn)
            break
