"""Texts too long to tokenise between two forward passes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

__all__ = ["LongTexts"]


class LongTexts:
    """Tokenises long texts in a thread of its own: one at a time, in the order they came.

    Each is read whole, because the ids of a text are not those of its parts in every tokenizer.
    That may take seconds, so the thread does not hold the processor's lock, and none of it is
    waited for. `tokenize` is called from that thread.
    """

    def __init__(self, tokenize: Callable[[str], list[int]]) -> None:
        self._tokenize = tokenize
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._waiting: dict[int, str] = {}
        self._under_way: Future[list[int]] | None = None
        self._whose: int | None = None  # nobody's any more, if None while one is under way

    def __bool__(self) -> bool:
        """Whether anybody will get something."""
        return self._whose is not None or bool(self._waiting)

    def add(self, request: int, text: str) -> None:
        """A request has one text here at a time."""
        self._waiting[request] = text
        self._begin()

    def remove(self, request: int) -> None:
        """A text that is being read is read to its end, and what comes of it dropped."""
        self._waiting.pop(request, None)
        if self._whose == request:
            self._whose = None

    def take(self) -> tuple[int, list[int]] | None:
        """A request and the ids of its text, if they are there; begins the next text."""
        if self._under_way is None or not self._under_way.done():
            return None
        request, ids = self._whose, self._under_way.result()
        self._under_way = self._whose = None
        self._begin()
        return None if request is None else (request, ids)

    def wait(self, seconds: float) -> None:
        """Until the text under way is done, or the time is up."""
        if self._under_way is not None:
            wait([self._under_way], seconds)

    def _begin(self) -> None:
        if self._under_way is None and self._waiting:
            self._whose = next(iter(self._waiting))
            text = self._waiting.pop(self._whose)
            self._under_way = self._thread.submit(self._tokenize, text)
