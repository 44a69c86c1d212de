"""Indexes follow what was committed a little later, so that files in a row share their commits."""

import threading
from collections.abc import Callable

__all__ = ["Following"]

_PAUSE_S = 0.5  # a commit of the keyword index costs what embedding a page does


class Following:
    """`ask` returns at once; a thread calls `follow` for each store that was asked for.

    A search does not wait for it: it brings the index up to date itself.
    """

    def __init__(self, follow: Callable[[str], None]) -> None:
        """`follow` raises nothing."""
        self._follow = follow
        self._asked: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._hurried = 0  # who waits in `settle`
        self._closing = False

    def ask(self, store_id: str) -> None:
        """Have a store's index brought up to date soon."""
        with self._changed:
            if self._closing:
                return
            self._asked.add(store_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="following", daemon=True)
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
        """Leaves the rest to who opens the indexes next; waits for the store that is at work."""
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
                self._changed.wait_for(lambda: self._hurried or self._closing, _PAUSE_S)
                if self._closing:
                    return
                self._busy = True
                asked, self._asked = self._asked, set[str]()
            for store_id in asked:
                if self._closing:
                    break
                self._follow(store_id)
