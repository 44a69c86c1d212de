"""The vector index of one store: graphs in files, and an exact tail of what is newer.

A segment has all chunks whose ids are in a range. Ids only grow, so segments and tail follow each
other.
The manifest names the segments and is replaced as a whole; a file that it does not name is
left over from a build that was broken off.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from retrieval.durable import replace_durably
from retrieval.errors import IndexDamaged
from retrieval.index_source import IndexSource
from retrieval.segment import BuiltSegment, Segment
from retrieval.vector_index import ExactIndex, best_of_parts
from retrieval.written_file import check

__all__ = ["TAIL_ROWS", "Build", "SegmentedVectors", "verify"]

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

FORMAT = 2
TAIL_ROWS = 20_000  # vectors that are searched exactly, in about 2 ms; beyond, a graph is built
_MANIFEST = "manifest.json"
_EXACT_CHUNKS = 4096  # of a filter: the vectors of so many are read and compared in about 10 ms


class Manifest(Struct, frozen=True, kw_only=True):
    """What a store's index was made of."""

    format: int
    embedder: str
    dimension: int
    segments: tuple[BuiltSegment, ...] = ()


class Build(NamedTuple):
    """A segment to be made of the chunks in a range, in place of those in it."""

    stem: Path  # of its files
    above: int
    up_to: int


class _Parts(NamedTuple):
    segments: tuple[Segment, ...]
    tail: ExactIndex

    @property
    def built_to(self) -> int:
        return self.segments[-1].built.up_to if self.segments else 0


class SegmentedVectors:
    """Opens the index in `path`, for vectors that `embedder` made. Raises IndexDamaged.

    Searches may run while one writer at a time changes it.
    """

    def __init__(
        self, path: Path, source: IndexSource, store_id: str, embedder: str, dimension: int
    ) -> None:
        self._path = path
        self._source = source
        self._store = store_id
        self._manifest = _read_manifest(path, embedder, dimension)
        self._dimension = dimension
        self._changing = threading.Lock()  # writers and `take` come from different threads
        self._closed = False
        segments = tuple(Segment(path, built, dimension) for built in self._manifest.segments)
        self._parts = _Parts(segments, _empty(dimension))
        # Chunks that the store had up to `built_to` when this was opened: a count takes its time.
        self.counted = self._forget_deleted(segments)
        self._remove_leftovers()

    def __len__(self) -> int:
        return len(self._parts.tail) + sum(segment.built.rows for segment in self._parts.segments)

    @property
    def built_to(self) -> int:
        """The highest chunk id that the segments may have."""
        return self._parts.built_to

    @property
    def expansion(self) -> int:
        """How widely graphs are searched, at most; 0 where there are none."""
        return max((segment.built.expansion for segment in self._parts.segments), default=0)

    def search(self, query: Vectors, k: int, within: Ids | None = None) -> tuple[Ids, Vectors]:
        """The up to `k` chunks nearest to `query`, shape (dimension,), best first.

        With them their cosine similarities, which are exact. Of `within` alone (ascending), if
        given: then all of them are found that there are, up to `k`.
        """
        parts = self._parts
        if not parts.segments:
            return parts.tail.search(query, k, within)
        if within is not None and len(within) <= max(_EXACT_CHUNKS, k):
            return self._exactly(query, k, within)
        found = [parts.tail.search(query, k, within)]
        found += [segment.search(query, k, within) for segment in parts.segments]
        ids, scores = _joined(found)
        if within is not None and len(ids) < min(k, len(within)):
            return self._exactly(query, k, within)
        return ids[:k], scores[:k]

    def score(self, query: Vectors, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that are there with their cosine similarities, best first."""
        held, vectors = self._held(ids)
        return best_of_parts(held, vectors @ query)

    def first_parts(self, ids: Sequence[int]) -> dict[int, Vectors]:
        """The first vector of each of those chunks that are there."""
        held, vectors = self._held(np.array(ids, np.int64))
        places = np.unique(held, return_index=True)[1]
        return {int(held[place]): vectors[place] for place in places}

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Adds rows to the tail; their ids must be higher than all that are there."""
        with self._changing:
            self._parts.tail.add(ids, vectors)

    def remove(self, ids: Ids) -> None:
        """Forgets chunks; ids that are not there are ignored."""
        with self._changing:
            self._parts.tail.remove(ids)
            for segment in self._parts.segments:
                segment.remove(ids)

    def wanted(self) -> Build | None:
        """The segment that should be built now.

        Where the tail is full: of the tail, and of as many of the last segments as have no more
        than twice the rows. So there are few segments, and a row is built in few of them. Where
        half of what the segments have is gone: of all.
        """
        parts = self._parts
        rows = len(parts.tail)
        newest = max(parts.tail.newest(), parts.built_to)
        deleted = sum(segment.deleted for segment in parts.segments)
        sparse = 2 * deleted > sum(segment.built.chunks for segment in parts.segments)
        if rows <= TAIL_ROWS and not sparse:
            return None
        above = parts.built_to
        for segment in reversed(parts.segments):
            if segment.built.rows > 2 * rows and not sparse:
                break
            rows += segment.built.rows
            above = segment.built.above
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Build(self._path / f"{above}-{newest}", above, newest)

    def take(self, built: BuiltSegment) -> None:
        """Uses a segment that was built, in place of what it was built of. Raises IndexDamaged."""
        segment = Segment(self._path, built, self._dimension)
        with self._changing:
            if self._closed:
                return
            parts = self._parts
            kept = tuple(one for one in parts.segments if one.built.up_to <= built.above)
            manifest = msgspec.structs.replace(
                self._manifest, segments=(*(one.built for one in kept), built)
            )
            draft = self._path / f"{_MANIFEST}.new"
            draft.write_bytes(msgspec.json.encode(manifest))
            replace_durably(draft, self._path / _MANIFEST)
            self._manifest = manifest
            self._forget_deleted((segment,))
            self._parts = _Parts((*kept, segment), parts.tail.without(built.up_to))
            self._remove_leftovers()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """What is being built is not taken any more."""
        with self._changing:
            self._closed = True

    def _held(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that are there, once for each of their parts, and the vectors."""
        parts = self._parts
        found = [holder.held(ids) for holder in (*parts.segments, parts.tail)]
        return np.concatenate([held for held, _ in found]), np.vstack([rows for _, rows in found])

    def _exactly(self, query: Vectors, k: int, within: Ids) -> tuple[Ids, Vectors]:
        best = (np.empty(0, np.int64), np.empty(0, np.float32))
        for first in range(0, len(within), _EXACT_CHUNKS):
            ids, scores = _joined([best, self.score(query, within[first : first + _EXACT_CHUNKS])])
            best = ids[:k], scores[:k]
        return best

    def _forget_deleted(self, segments: Sequence[Segment]) -> int:
        """Of segments that follow each other from the first chunk on: forgets what the store no
        longer has. How many chunks it has there."""
        held = sum(segment.built.chunks for segment in segments)
        count = self._source.count(self._store, 0, self.built_to) if segments else 0
        if held != count:
            live = self._source.ids(self._store, 0, self.built_to)
            for segment in segments:
                segment.keep(live)
        return count

    def _remove_leftovers(self) -> None:
        kept = {
            file.name for built in self._manifest.segments for file in (built.graph, built.vectors)
        }
        for file in self._path.glob("*-*.*"):  # also what a build that was broken off left
            if file.name not in kept:
                file.unlink(missing_ok=True)


def verify(path: Path, embedder: str, dimension: int) -> None:
    """Reads all files of the index in `path`; changes nothing. Raises IndexDamaged."""
    for built in _read_manifest(path, embedder, dimension).segments:
        for file in (built.graph, built.vectors):
            check(path, file, thoroughly=True)


def _empty(dimension: int) -> ExactIndex:
    return ExactIndex(np.empty(0, np.int64), np.empty((0, dimension), np.float32))


def _joined(found: Sequence[tuple[Ids, Vectors]]) -> tuple[Ids, Vectors]:
    return best_of_parts(
        np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found])
    )


def _read_manifest(path: Path, embedder: str, dimension: int) -> Manifest:
    file = path / _MANIFEST
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest(format=FORMAT, embedder=embedder, dimension=dimension)
    except msgspec.MsgspecError as error:
        raise IndexDamaged(f"{file}: {error}") from error
    if (manifest.format, manifest.embedder, manifest.dimension) != (FORMAT, embedder, dimension):
        raise IndexDamaged(f"{file}: made by {manifest.embedder}, format {manifest.format}")
    return manifest
