"""Work that is asked for by a store's id and done a little later, by one thread."""

import threading
from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """`ask` returns at once; a thread calls `work` for each store, once however often it is asked.

    What is asked for while it is at work is done after it.
    """

    def __init__(self, name: str, work: Callable[[str], None], pause_s: float = 0.0) -> None:
        """`work` raises nothing. The thread `name` waits `pause_s` for more before it begins."""
        self._name = name
        self._work = work
        self._pause_s = pause_s
        self._asked: dict[str, None] = {}  # a set in order
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._hurried = 0  # who waits in `settle`
        self._closing = False

    def ask(self, store_id: str) -> None:
        """Have it done soon."""
        with self._changed:
            if self._closing:
                return
            self._asked[store_id] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self) -> None:
        """Waits until nothing is left to do."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._asked or self._busy) or self._closing)
            self._hurried -= 1

    def close(self) -> None:
        """Leaves the rest undone; waits for the store that is at work."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._asked or self._closing)
                self._changed.wait_for(lambda: self._hurried or self._closing, self._pause_s)
                if self._closing:
                    return
                self._busy = True
                asked, self._asked = self._asked, {}
            for store_id in asked:
                if self._closing:
                    break
                self._work(store_id)
