# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""What the indexes are derived from, read from the database by connections of their own.

A search neither waits for who writes the database, nor does who writes wait for it. Nothing here
asks whose a store is: the caller has made sure of that, and what is found is shown only after
`retrieval.store` has checked it again.
"""

import json
import queue
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["IndexSource"]

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

_BUSY_MS = 10_000
_BATCH = 4096  # rows at once: a few megabytes
_CHUNKS = "store_files sf JOIN chunks c ON c.store_file = sf.seq"


class IndexSource:
    """Reads the database at `path`, which must exist. May be used by several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    def close(self) -> None:
        """Closes the connections that are not in use."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def newest(self) -> int:
        """The highest chunk id ever given, in any store."""
        with self._reading() as execute:
            row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
            return int(row[0]) if row else 0

    def stores(self) -> list[str]:
        """The ids of all stores."""
        with self._reading() as execute:
            return [row[0] for row in execute("SELECT id FROM stores ORDER BY id")]

    def count(self, store_id: str, above: int, up_to: int) -> int:
        """How many chunks a store has in that range of ids."""
        with self._reading() as execute:
            (count,) = execute(
                f"SELECT COUNT(*) FROM {_CHUNKS} WHERE sf.store_id = ? AND c.id > ? AND c.id <= ?",
                (store_id, above, up_to),
            ).fetchone()
            return int(count)

    def ids(self, store_id: str, above: int, up_to: int) -> Ids:
        """The ids of a store's chunks in that range, ascending."""
        with self._reading() as execute:
            rows = execute(
                f"SELECT c.id FROM {_CHUNKS} WHERE sf.store_id = ? AND c.id > ? AND c.id <= ?"
                " ORDER BY c.id",
                (store_id, above, up_to),
            )
            return np.fromiter((row[0] for row in rows), np.int64)

    def texts(self, store_id: str, above: int, up_to: int) -> Iterator[tuple[int, str]]:
        """Ids and texts of the chunks in that range, ascending."""
        with self._reading() as execute:
            yield from execute(
                f"SELECT c.id, c.text FROM {_CHUNKS} WHERE sf.store_id = ?"
                " AND c.id > ? AND c.id <= ? ORDER BY c.id",
                (store_id, above, up_to),
            )

    def vectors(
        self, store_id: str, above: int, up_to: int, dimension: int
    ) -> Iterator[tuple[Ids, Vectors]]:
        """Batches of ids and vectors, shape (n, dimension); an id once for each of its parts.

        Vectors of another dimension are left out: all is to be embedded anew.
        """
        with self._reading() as execute:
            found = execute(
                f"SELECT c.id, e.vector FROM {_CHUNKS} JOIN embeddings e ON e.chunk_id = c.id"
                " WHERE sf.store_id = ? AND c.id > ? AND c.id <= ? ORDER BY c.id, e.part",
                (store_id, above, up_to),
            )
            while rows := found.fetchmany(_BATCH):
                yield _arrays(rows, dimension)

    def vectors_of(self, ids: Sequence[int] | Ids, dimension: int) -> tuple[Ids, Vectors]:
        """The vectors of those chunks that are still there; an id once for each of its parts."""
        with self._reading() as execute:
            wanted = json.dumps(ids.tolist() if isinstance(ids, np.ndarray) else list(ids))
            rows = execute(
                "SELECT e.chunk_id, e.vector FROM json_each(?) wanted"
                " JOIN embeddings e ON e.chunk_id = wanted.value",
                (wanted,),
            ).fetchall()
            return _arrays(rows, dimension)

    def span(self, chunk: int, neighbours: int) -> tuple[int, int] | None:
        """From where to where a chunk and so many before and after it reach in their document."""
        with self._reading() as execute:
            start, end = execute(
                "SELECT MIN(n.start), MAX(n.end) FROM chunks c JOIN chunks n"
                " ON n.store_file = c.store_file AND n.id BETWEEN c.id - ?2 AND c.id + ?2"
                " WHERE c.id = ?1",
                (chunk, neighbours),
            ).fetchone()
            return None if start is None else (start, end)

    @contextmanager
    def _reading(self) -> Generator[Callable[..., sqlite3.Cursor]]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection.execute
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        return connection


def _arrays(rows: list[tuple[int, bytes]], dimension: int) -> tuple[Ids, Vectors]:
    fitting = [row for row in rows if len(row[1]) == 4 * dimension]
    flat = np.frombuffer(b"".join(row[1] for row in fitting), np.float32)
    return np.array([row[0] for row in fitting], np.int64), flat.reshape(-1, dimension)
