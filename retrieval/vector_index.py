"""Nearest vectors of one store, exactly: usearch over all of them. Derived, never the truth."""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import Matches
from usearch.index import search as exact_search

__all__ = ["VectorIndex"]

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


class _Snapshot(NamedTuple):
    """The rows a search sees: arrays with room behind `size` that only a writer touches."""

    ids: Ids
    vectors: Vectors
    size: int


class VectorIndex:
    """Vectors by chunk id. Searches may run while one writer at a time changes it."""

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        """`ids` has shape (n,), `vectors` (n, dimension)."""
        self._rows = _Snapshot(ids, vectors, len(ids))

    def __len__(self) -> int:
        return self._rows.size

    def search(self, query: Vectors, k: int) -> tuple[Ids, Vectors]:
        """The ids of the up to `k` nearest to `query`, shape (dimension,), best first.

        With them their cosine similarities, -1..1. Fewer than `k` when there are not as many.
        """
        ids, vectors, size = self._rows
        k = min(k, size)  # usearch refuses to be asked for more than there are
        if k <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        matches = cast(
            "Matches",
            # One thread: the models own the cores.
            exact_search(vectors[:size], query, k, MetricKind.Cos, exact=True, threads=1),
        )
        places = np.asarray(matches.keys, np.int64)
        return ids[places], 1 - np.asarray(matches.distances, np.float32)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Adds rows; their ids must be new."""
        rows = self._rows
        size = rows.size + len(ids)
        if not rows.size:
            self._rows = _Snapshot(ids, vectors, size)
            return
        if size > len(rows.ids):
            # Doubling, so that a long ingest copies each row about once.
            rows = _Snapshot(
                np.resize(rows.ids, 2 * size), _grown(rows.vectors, 2 * size), rows.size
            )
        rows.ids[rows.size : size] = ids
        rows.vectors[rows.size : size] = vectors
        self._rows = rows._replace(size=size)

    def remove(self, ids: Ids) -> None:
        """Forgets rows; ids that are not there are ignored."""
        held, vectors, size = self._rows
        keep = ~np.isin(held[:size], ids)
        self._rows = _Snapshot(held[:size][keep], vectors[:size][keep], int(keep.sum()))


def _grown(vectors: Vectors, size: int) -> Vectors:
    grown = np.empty((size, vectors.shape[1]), np.float32)
    grown[: len(vectors)] = vectors
    return grown
