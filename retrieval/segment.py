"""One segment of a vector index: the graph of all chunks whose ids are in a range.

Its files never change. What is deleted since stays in the graph, and is passed over.
"""

from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from retrieval.segment_rows import SegmentRows
from retrieval.vector_index import LEAST_EXPANSION, SPARE, GraphIndex
from retrieval.written_file import WrittenFile, check

__all__ = ["BuiltSegment", "Segment"]

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

_SCANNED = 8  # with a filter: beyond this part of a graph, comparing all is quicker


class BuiltSegment(Struct, frozen=True, kw_only=True):
    """The files of a segment. Its chunks' ids are above `above` and at most `up_to`."""

    above: int
    up_to: int
    rows: int
    chunks: int
    expansion: int = LEAST_EXPANSION  # of a search in the graph
    graph: WrittenFile
    vectors: WrittenFile


class Segment:
    """Opens what was built, in `directory`. Raises IndexDamaged.

    Searches may run while one writer at a time removes.
    """

    def __init__(self, directory: Path, built: BuiltSegment, dimension: int) -> None:
        self.built = built
        self.deleted = 0  # chunks
        self._graph = GraphIndex(check(directory, built.graph), dimension, built.expansion)
        self._rows = SegmentRows(check(directory, built.vectors), dimension, built.rows)
        self._live = np.ones(built.rows, np.bool_)

    def keep(self, ids: Ids) -> None:
        """Forgets all other chunks."""
        self._live = np.isin(self._rows.ids, ids)
        self.deleted = self.built.chunks - len(np.unique(self._rows.ids[self._live]))

    def remove(self, ids: Ids) -> None:
        """Forgets chunks; ids that are not there are ignored."""
        rows = self._rows.rows_of(ids)
        rows = rows[self._live[rows]]
        self._live[rows] = False
        self.deleted += len(np.unique(self._rows.ids[rows]))

    def search(self, query: Vectors, k: int, within: Ids | None) -> tuple[Ids, Vectors]:
        """The ids of about `k` chunks nearest to `query`, unordered, and their parts' cosines.

        An id may be there more than once. Of `within` alone, if given: then perhaps fewer than
        there are.
        """
        depth = k + SPARE
        while True:
            rows = self._graph.search(query, depth)
            ids = self._rows.ids[rows]
            kept = self._live[rows]
            if within is not None:
                kept &= np.isin(ids, within)
            exhausted = depth >= len(self._rows) or (
                within is not None and depth > self.built.chunks // _SCANNED
            )
            ids = ids[kept]
            if exhausted or len(set(ids.tolist())) >= k:
                return ids, self._rows.vectors(rows[kept]) @ query
            depth *= 4

    def held(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that are here, once for each of their parts, and the vectors."""
        rows = self._rows.rows_of(ids)
        rows = rows[self._live[rows]]
        return self._rows.ids[rows], self._rows.vectors(rows)
