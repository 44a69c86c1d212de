"""How much of the time passes inside llama.cpp and llguidance. For measurements only."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from models.worker import llama, structured

__all__ = ["NativeTime", "timed"]


class NativeTime:
    """Seconds spent in native calls since the measurement began."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        def wrapped(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - begun

        return wrapped


@contextmanager
def timed() -> Generator[NativeTime]:
    """Time every call of this process into the two, until the context ends.

    Each wrapper adds about half a microsecond, which counts as Python's.
    """
    found = NativeTime()
    with ExitStack() as restored:
        for owner, name in _native_calls():
            original = getattr(owner, name)
            setattr(owner, name, found.around(original))
            restored.callback(setattr, owner, name, original)
        yield found


def _native_calls() -> list[tuple[Any, str]]:
    functions = [
        (llama.llama_cpp, name)
        for name in dir(llama.llama_cpp)
        if name.startswith("llama_")
        and callable(function := getattr(llama.llama_cpp, name))
        and not isinstance(function, type)
    ]
    # The matcher of llguidance is a class of Rust, which takes no wrapper; ours only passes on.
    grammar = [
        (structured.llnumpy, "fill_next_token_bitmask"),
        (structured.Matcher, "allows"),
        (structured.Matcher, "consume"),
        (structured.Matcher, "forced"),
    ]
    return [*functions, *grammar]
