"""The vector indexes of all stores: built from the database at first use, then kept in step."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.store import Store, Written
from retrieval.vector_index import VectorIndex

__all__ = ["Indexes"]


class Indexes:
    """Synchronous; calls may wait for the disk and for each other, searches of an index do not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_store: dict[str, VectorIndex] = {}
        # Held over a commit and the change of the index that follows from it, and over a build:
        # so none is built from a state before a commit and shown after it. A thread's lock, not
        # the loop's: a cancelled task lets its thread run on.
        self._lock = threading.Lock()

    def get(self, owner: str, store_id: str) -> VectorIndex:
        """The index of a store that `owner` may search; empty for any other."""
        index = self._by_store.get(store_id)
        if index is not None:
            return index
        with self._lock:
            index = self._by_store.get(store_id)
            if index is None:
                index = VectorIndex(*self._store.vectors(owner, store_id))
                if len(index):  # also so that nothing is remembered of who may not see
                    self._by_store[store_id] = index
            return index

    def write(
        self, store_id: str, commit: Callable[[], Written], vectors: NDArray[np.float32]
    ) -> None:
        """Runs `commit`, then brings the index up to it; `vectors` are of the chunks it adds."""
        with self._lock:
            written = commit()
            index = self._by_store.get(store_id)
            if index is None:
                return  # read from the database when it is first searched
            if written.removed:
                index.remove(np.array(written.removed, np.int64))
            if written.added:
                index.add(np.array(written.added, np.int64), vectors)

    def forget(self, commit: Callable[[], object], store_id: str | None = None) -> None:
        """Runs `commit`, then drops the store's index, or all of them."""
        with self._lock:
            commit()
            if store_id is None:
                self._by_store.clear()
            else:
                self._by_store.pop(store_id, None)
