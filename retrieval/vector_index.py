"""Nearest vectors: exactly among a few, by a graph among many. The only home of usearch.

A graph (HNSW) is built once, written to a file, and mapped into memory from then on; neither it
nor its file is ever changed. Its vectors are bytes. Cosine does not ask for lengths, so each is
scaled to fill them; whoever wants exact scores has the true vectors to score what was found.
"""

from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind, ScalarKind
from usearch.index import BatchMatches, Index, Matches
from usearch.index import search as exact_search

from retrieval.segment_rows import SegmentRows

__all__ = ["LEAST_EXPANSION", "SPARE", "ExactIndex", "GraphIndex", "best_of_parts", "write_graph"]

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

# Care in building pays at each search: added with 128, a search has to look at a third more.
_CONNECTIVITY = 16
_EXPANSION_ADD = 256
# How widely a search looks around is measured when a graph is built: as widely as it takes to find
# this share of the nearest of vectors that are not in it. Queries are a little harder than these.
_RECALL = 0.99
_NEAREST = 10
LEAST_EXPANSION = 128
_EXPANSIONS = (LEAST_EXPANSION, 192, 256, 384, 512, 768, 1024)
_PROBES = 256  # vectors that are left out of a graph at first, and one of so many at most
_ROWS_EACH = 100
SPARE = 32  # candidates beyond those asked for, whose order among bytes is not the true one
_ROUNDING = np.float32(1e-5)  # of scores that were computed in different ways
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
    `expansion` is how widely a search looks around.
    """

    def __init__(self, path: Path, dimension: int, expansion: int) -> None:
        self._graph = _graph(dimension)
        self._graph.view(str(path))
        self._graph.expansion_search = expansion

    def __len__(self) -> int:
        return len(self._graph)

    def search(self, query: Vectors, depth: int) -> Rows:
        """About the `depth` rows nearest to `query`, or all, the nearest first."""
        depth = min(depth, len(self._graph))
        if depth <= 0:
            return np.empty(0, np.int64)
        matches = cast("Matches", self._graph.search(_as_bytes(query), depth, threads=1))
        return np.asarray(matches.keys).astype(np.int64)


def write_graph(path: Path, dimension: int, rows: SegmentRows, threads: int = 1) -> int:
    """Builds a graph of all rows, numbered from 0, and writes it.

    Returns the expansion that it is to be searched with.
    """
    graph = _graph(dimension)
    probes = _probes(len(rows))
    first = 0
    for vectors in rows.batches():
        keys = np.arange(first, first + len(vectors))
        first += len(vectors)
        kept = ~np.isin(keys, probes)
        graph.add(keys[kept].astype(np.uint64), _as_bytes(vectors[kept]), threads=threads)
    expansion = _expansion(graph, rows, probes)
    if len(probes):
        graph.add(probes.astype(np.uint64), _as_bytes(rows.vectors(probes)), threads=threads)
    graph.save(str(path))
    return expansion


def _probes(rows: int) -> Rows:
    """Rows from all over a segment."""
    count = min(_PROBES, rows // _ROWS_EACH)
    return np.arange(count, dtype=np.int64) * (rows // max(count, 1))


def _expansion(graph: Any, rows: SegmentRows, probes: Rows) -> int:
    """The least that finds enough of what is nearest to the probes, which are not in `graph`.

    What is as near as the last of the nearest counts as one of them: which of many equals is found
    does not matter.
    """
    if not len(probes):
        return LEAST_EXPANSION
    vectors = rows.vectors(probes)
    least = _nearness(rows, probes, vectors)
    for expansion in _EXPANSIONS:
        graph.expansion_search = expansion
        found = 0
        for vector, nearness in zip(vectors, least, strict=True):
            matches = cast("Matches", graph.search(_as_bytes(vector), _NEAREST + SPARE, threads=1))
            scores = rows.vectors(np.asarray(matches.keys).astype(np.int64)) @ vector
            found += min(int((scores >= nearness).sum()), _NEAREST)
        if found >= _RECALL * _NEAREST * len(probes):
            return expansion
    return _EXPANSIONS[-1]


def _nearness(rows: SegmentRows, probes: Rows, vectors: Vectors) -> Vectors:
    """How near the last of the nearest is to each probe, among all rows but the probes."""
    best = np.empty((len(probes), 0), np.float32)
    first = 0
    for batch in rows.batches():
        kept = ~np.isin(np.arange(first, first + len(batch)), probes)
        first += len(batch)
        count = min(_NEAREST, int(kept.sum()))
        # By usearch, not NumPy, which would take all cores: the models own them.
        matches = cast(
            "BatchMatches",
            exact_search(batch[kept], vectors, count, MetricKind.Cos, exact=True, threads=1),
        )
        # Of one probe, usearch gives one dimension.
        near = 1 - np.asarray(matches.distances, np.float32).reshape(len(probes), count)
        best = np.hstack([best, near])
        best = -np.sort(-best, axis=1)[:, :_NEAREST]
    return best[:, -1] - _ROUNDING


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
