"""The true vectors of a segment, in a file: what its graph finds is scored by them.

First the vectors, one after the other (float32), then the id of each one's chunk (int64), which is
there once for each of its parts. The ids are held in memory. A vector is read when it is asked for:
pages of a mapped file would count as memory of the process, those around the wanted ones, too.
"""

import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamaged

__all__ = ["SegmentRows", "write_rows"]

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_BATCH = 4096  # vectors at once: a few megabytes


class SegmentRows:
    """The file `path`, as `write_rows` wrote it: so many `rows`. Immutable."""

    def __init__(self, path: Path, dimension: int, rows: int) -> None:
        self._path = path
        self._dimension = dimension
        self._bytes = 4 * dimension
        self.ids: Ids = np.fromfile(path, np.int64, rows, offset=rows * self._bytes)  # ascending
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self, rows: Rows) -> Vectors:
        """Those of `rows`, shape (len(rows), dimension). Raises IndexDamaged."""
        size, descriptor = self._bytes, self._descriptor
        read = b"".join([os.pread(descriptor, size, row * size) for row in rows.tolist()])
        if len(read) != size * len(rows):
            raise IndexDamaged(f"{self._path} has become shorter")
        return np.frombuffer(read, np.float32).reshape(-1, self._dimension)

    def rows_of(self, ids: Ids) -> Rows:
        """The rows of all parts of those chunks that are here."""
        first = np.searchsorted(self.ids, ids, side="left")
        counts = np.searchsorted(self.ids, ids, side="right") - first
        before = np.cumsum(counts) - counts  # rows of the chunks before each
        starts: Rows = np.repeat(first - before, counts)
        return starts + np.arange(len(starts))

    def batches(self) -> Iterator[Vectors]:
        """All vectors, in order."""
        for first in range(0, len(self), _BATCH):
            yield self.vectors(np.arange(first, min(first + _BATCH, len(self))))


def write_rows(path: Path, dimension: int, batches: Iterable[tuple[Ids, Vectors]]) -> Ids:
    """Writes the file; the ids must ascend. Returns those."""
    held = [np.empty(0, np.int64)]
    with path.open("wb") as file:
        for ids, vectors in batches:
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
            held.append(ids)
        found = np.concatenate(held)
        file.write(found.tobytes())
    return found
