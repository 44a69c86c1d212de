"""Nearest vectors: exactly among a few, by a graph among many. The only home of usearch.

A graph (HNSW) is built once, written to a file, and mapped into memory from then on; neither it
nor its file is ever changed. Its vectors are bytes. Cosine does not ask for lengths, so each is
scaled to fill them; whoever wants exact scores has the true vectors to score what was found.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind, ScalarKind
from usearch.index import Index, Matches
from usearch.index import search as exact_search

__all__ = ["ExactIndex", "GraphIndex", "best_of_parts", "write_graph"]

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

# Measured on embeddings of real text (docs/benchmarks.md): recall of the ten best above 0.99. Care
# in building pays at each search: added with 128, a search has to look at a third more.
_CONNECTIVITY = 16
_EXPANSION_ADD = 256
_EXPANSION_SEARCH = 128  # at least, and one for so many vectors: more of them hide the nearest
_VECTORS_EACH = 2000
_MORE = 4  # so many times as many are asked for when parts of few chunks fill the answer


class _Rows(NamedTuple):
    """What a search sees: arrays with room behind `size` that only a writer touches."""

    ids: Ids
    vectors: Vectors
    size: int


class ExactIndex:
    """Vectors by chunk id, an id once for each of its parts.

    Searches may run while one writer at a time changes it.
    """

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        """`ids` has shape (n,), ascending, `vectors` (n, dimension)."""
        self._rows = _Rows(ids, vectors, len(ids))

    def __len__(self) -> int:
        return self._rows.size

    def newest(self) -> int:
        """The highest id, 0 for none."""
        return int(self._rows.ids[self._rows.size - 1]) if self._rows.size else 0

    def search(self, query: Vectors, k: int, within: Ids | None = None) -> tuple[Ids, Vectors]:
        """The up to `k` chunks nearest to `query`, shape (dimension,), best first.

        With them their cosine similarities, -1..1: those of their best parts. Of `within` alone
        (ascending), if given.
        """
        ids, vectors, size = self._rows
        ids, vectors = ids[:size], vectors[:size]
        if within is not None:
            rows = np.isin(ids, within)
            ids, vectors = ids[rows], vectors[rows]
        depth = k
        while True:
            depth = min(depth, len(ids))  # usearch refuses to be asked for more than there are
            if depth <= 0:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            matches = cast(
                "Matches",
                # One thread: the models own the cores.
                exact_search(vectors, query, depth, MetricKind.Cos, exact=True, threads=1),
            )
            places = np.asarray(matches.keys, np.int64)
            found, scores = best_of_parts(
                ids[places], 1 - np.asarray(matches.distances, np.float32)
            )
            if len(found) >= k or depth == len(ids):
                return found[:k], scores[:k]
            depth *= _MORE

    def held(self, wanted: Ids) -> tuple[Ids, Vectors]:
        """Those of `wanted` that are here, once for each of their parts, and the vectors."""
        ids, vectors, size = self._rows
        rows = np.flatnonzero(np.isin(ids[:size], wanted))
        return ids[rows], vectors[rows]

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Adds rows; their ids must be higher than those that are there."""
        rows = self._rows
        size = rows.size + len(ids)
        if not rows.size:
            self._rows = _Rows(ids, vectors, size)
            return
        if size > len(rows.ids):
            # Doubling, so that a long ingest copies each row about once.
            rows = _Rows(np.resize(rows.ids, 2 * size), _grown(rows.vectors, 2 * size), rows.size)
        rows.ids[rows.size : size] = ids
        rows.vectors[rows.size : size] = vectors
        self._rows = rows._replace(size=size)

    def remove(self, ids: Ids) -> None:
        """Forgets chunks; ids that are not there are ignored."""
        held, vectors, size = self._rows
        self._keep(held, vectors, ~np.isin(held[:size], ids))

    def without(self, up_to: int) -> "ExactIndex":
        """A new index of the chunks whose ids are above `up_to`."""
        held, vectors, size = self._rows
        first = int(np.searchsorted(held[:size], up_to, side="right"))
        return ExactIndex(held[first:size].copy(), vectors[first:size].copy())

    def _keep(self, ids: Ids, vectors: Vectors, rows: NDArray[np.bool_]) -> None:
        if not rows.all():
            size = len(rows)
            self._rows = _Rows(ids[:size][rows], vectors[:size][rows], int(rows.sum()))


class GraphIndex:
    """The graph in the file `path`, mapped: it takes memory as it is read. Immutable.

    The file must be as `write_graph` wrote it. Of another, usearch may end the process.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self._graph = _graph(dimension)
        self._graph.view(str(path))
        self._graph.expansion_search = max(_EXPANSION_SEARCH, len(self._graph) // _VECTORS_EACH)

    def __len__(self) -> int:
        return len(self._graph)

    def search(self, query: Vectors, depth: int) -> Rows:
        """About the `depth` rows nearest to `query`, or all, the nearest first."""
        depth = min(depth, len(self._graph))
        if depth <= 0:
            return np.empty(0, np.int64)
        matches = cast("Matches", self._graph.search(_as_bytes(query), depth, threads=1))
        return np.asarray(matches.keys).astype(np.int64)


def write_graph(path: Path, dimension: int, batches: Iterable[Vectors], threads: int = 1) -> None:
    """Builds a graph of all batches' rows, numbered from 0, and writes it."""
    graph = _graph(dimension)
    for vectors in batches:
        first = len(graph)
        keys = np.arange(first, first + len(vectors), dtype=np.uint64)
        graph.add(keys, _as_bytes(vectors), threads=threads)
    graph.save(str(path))


def best_of_parts(ids: Ids, scores: Vectors) -> tuple[Ids, Vectors]:
    """Each id once, with its best score, best first; equals by age."""
    order = np.lexsort((ids, -scores))
    ids, scores = ids[order], scores[order]
    if len(set(ids.tolist())) == len(ids):  # mostly; this is the quicker way to know
        return ids, scores
    kept = np.sort(np.unique(ids, return_index=True)[1])
    return ids[kept], scores[kept]


def _graph(dimension: int) -> Any:
    # Keys are looked up nowhere; without a table of them a file opens without being read.
    return Index(
        ndim=dimension,
        metric=MetricKind.Cos,
        dtype=ScalarKind.I8,
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        enable_key_lookups=False,
    )


def _as_bytes(vectors: Vectors) -> NDArray[np.int8]:
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    return np.rint(vectors * (127 / np.maximum(largest, 1e-30))).astype(np.int8)


def _grown(vectors: Vectors, size: int) -> Vectors:
    grown = np.empty((size, vectors.shape[1]), np.float32)
    grown[: len(vectors)] = vectors
    return grown
