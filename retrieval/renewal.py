"""Indexes of stores built anew beside those that are searched, which they then replace."""

import shutil
import subprocess
import threading
from collections.abc import Sequence

from retrieval.errors import RetrievalError
from retrieval.index_builder import arguments
from retrieval.indexes import Indexes

__all__ = ["Renewal"]


class Renewal:
    """One at a time. `next` is called by one thread; `close` by any, and ends what it waits for."""

    def __init__(self, indexes: Indexes, store_ids: Sequence[str]) -> None:
        self._indexes = indexes
        self._store_ids = store_ids
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def next(self) -> str | None:
        """Waits until the next store has its new index, and says which.

        None when all have one, or after `close`. Raises RetrievalError where one cannot be built.
        """
        process = self._started()
        if process is None:
            return None
        assert process.stdout is not None
        try:
            store_id = process.stdout.readline().decode().rstrip("\n")
        except ValueError:  # `close` was quicker
            return None
        with self._lock:
            if self._closed:
                return None
            if not store_id:
                if status := process.wait():
                    raise RetrievalError(f"The process that builds indexes ended with {status}.")
                return None
            self._indexes.exchange(store_id)
            return store_id

    def close(self) -> None:
        """Breaks off what is being built; the stores that are done keep their new index."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                for pipe in (self._process.stdin, self._process.stdout):
                    assert pipe is not None
                    pipe.close()
            shutil.rmtree(self._indexes.staging, ignore_errors=True)

    def _started(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._closed or not self._store_ids:
                return None
            if self._process is None:
                staging = self._indexes.staging
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(mode=0o700)
                source, embedder = self._indexes.source, self._indexes.embedder
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    arguments(source.path, staging, embedder, self._store_ids),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            return self._process
