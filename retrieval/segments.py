"""The vector index of one store: graphs in files, and an exact tail of what is newer.

A segment is the graph of all chunks whose ids are in a range. Ids only grow, so segments and tail
follow each other. A graph still finds what was deleted since; the exact score of everything it
finds is asked of the database, which knows no such chunk.
The manifest names the segments and is replaced as a whole; a file that it does not name is
left over from a build that was broken off.
"""

import threading
import zlib
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
from retrieval.vector_index import ExactIndex, GraphIndex, best_of_parts

__all__ = ["TAIL_ROWS", "Build", "BuiltSegment", "SegmentedVectors", "checksum", "verify"]

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

FORMAT = 1
TAIL_ROWS = 20_000  # vectors that are searched exactly, in about 2 ms; beyond, a graph is built
_MANIFEST = "manifest.json"
_SPARE = 32  # candidates beyond those asked for, whose order among bytes is not the true one
_EXACT_CHUNKS = 4096  # of a filter: so many are read from the database and compared in about 20 ms
_SCANNED = 8  # with a filter: beyond this part of a graph, comparing all is quicker
_CHECK_BYTES = 16 * 1024 * 1024


class BuiltSegment(Struct, frozen=True, kw_only=True):
    """A file of a store's index. Its chunks' ids are above `above` and at most `up_to`."""

    file: str
    above: int
    up_to: int
    rows: int
    chunks: int
    bytes: int
    written_ns: int  # the file's time of writing: while it is that, the file is not read to check
    checksum: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What a store's index was made of."""

    format: int
    embedder: str
    dimension: int
    segments: tuple[BuiltSegment, ...] = ()


class Build(NamedTuple):
    """A segment to be made of the chunks in a range, in place of those in it."""

    file: Path
    above: int
    up_to: int


class _Parts(NamedTuple):
    segments: tuple[tuple[BuiltSegment, GraphIndex], ...]
    tail: ExactIndex
    deleted: int  # chunks that the segments have and the store no longer

    @property
    def built_to(self) -> int:
        return self.segments[-1][0].up_to if self.segments else 0


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
        graphs = tuple(
            (segment, GraphIndex(_checked(path, segment), dimension))
            for segment in self._manifest.segments
        )
        self._parts = _Parts(graphs, _empty(dimension), self._deleted())
        self._remove_leftovers()

    def __len__(self) -> int:
        return len(self._parts.tail) + sum(segment.rows for segment, _ in self._parts.segments)

    @property
    def built_to(self) -> int:
        """The highest chunk id that the segments may have."""
        return self._parts.built_to

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
        for segment, graph in parts.segments:
            found.append(self._of_segment(segment, graph, query, k, within))
        ids, scores = _joined(found)
        if within is not None and len(ids) < min(k, len(within)):
            return self._exactly(query, k, within)
        return ids[:k], scores[:k]

    def score(self, query: Vectors, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that are still there with their cosine similarities, best first."""
        held, vectors = self._source.vectors_of(ids, self._dimension)
        return best_of_parts(held, vectors @ query)

    def first_parts(self, ids: Sequence[int]) -> dict[int, Vectors]:
        """The first vector of each of those chunks that are still there."""
        held, vectors = self._source.vectors_of(ids, self._dimension)
        places = np.unique(held, return_index=True)[1]
        return {int(held[place]): vectors[place] for place in places}

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Adds rows to the tail; their ids must be higher than all that are there."""
        with self._changing:
            self._parts.tail.add(ids, vectors)

    def remove(self, ids: Ids) -> None:
        """Forgets chunks; ids that are not there are ignored."""
        with self._changing:
            parts = self._parts
            parts.tail.remove(ids)
            gone = int((ids <= parts.built_to).sum())
            self._parts = parts._replace(deleted=parts.deleted + gone)

    def wanted(self) -> Build | None:
        """The segment that should be built now.

        Where the tail is full: of the tail, and of as many of the last segments as have no more
        than twice the rows. So there are few segments, and a row is built in few of them. Where
        half of what the segments have is gone: of all.
        """
        parts = self._parts
        rows = len(parts.tail)
        newest = max(parts.tail.newest(), parts.built_to)
        sparse = 2 * parts.deleted > sum(segment.chunks for segment, _ in parts.segments)
        if rows <= TAIL_ROWS and not sparse:
            return None
        above = parts.built_to
        for segment, _ in reversed(parts.segments):
            if segment.rows > 2 * rows and not sparse:
                break
            rows += segment.rows
            above = segment.above
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Build(self._path / f"{above}-{newest}.usearch", above, newest)

    def take(self, built: BuiltSegment) -> None:
        """Uses a segment that was built, in place of what it was built of. Raises IndexDamaged."""
        graph = GraphIndex(_checked(self._path, built), self._dimension)
        with self._changing:
            if self._closed:
                return
            parts = self._parts
            kept = tuple(one for one in parts.segments if one[0].up_to <= built.above)
            manifest = msgspec.structs.replace(
                self._manifest, segments=(*(segment for segment, _ in kept), built)
            )
            draft = self._path / f"{_MANIFEST}.new"
            draft.write_bytes(msgspec.json.encode(manifest))
            replace_durably(draft, self._path / _MANIFEST)
            self._manifest = manifest
            self._parts = _Parts(
                (*kept, (built, graph)), parts.tail.without(built.up_to), self._deleted()
            )
            self._remove_leftovers()

    def close(self) -> None:
        """What is being built is not taken any more."""
        with self._changing:
            self._closed = True

    def _of_segment(
        self, segment: BuiltSegment, graph: GraphIndex, query: Vectors, k: int, within: Ids | None
    ) -> tuple[Ids, Vectors]:
        """With a filter perhaps fewer than there are."""
        depth = k + _SPARE
        while True:
            ids, _ = graph.search(query, depth)
            exhausted = len(ids) < depth or (
                within is not None and depth > segment.chunks // _SCANNED
            )
            scored = self.score(query, ids if within is None else ids[np.isin(ids, within)])
            if len(scored[0]) >= k or exhausted:
                return scored
            depth *= 4

    def _exactly(self, query: Vectors, k: int, within: Ids) -> tuple[Ids, Vectors]:
        best = (np.empty(0, np.int64), np.empty(0, np.float32))
        for first in range(0, len(within), _EXACT_CHUNKS):
            ids, scores = _joined([best, self.score(query, within[first : first + _EXACT_CHUNKS])])
            best = ids[:k], scores[:k]
        return best

    def _deleted(self) -> int:
        segments = self._manifest.segments
        if not segments:
            return 0
        held = sum(segment.chunks for segment in segments)
        return held - self._source.count(self._store, segments[-1].up_to)

    def _remove_leftovers(self) -> None:
        kept = {segment.file for segment in self._manifest.segments}
        for file in self._path.glob("*.usearch*"):
            if file.name not in kept:
                file.unlink(missing_ok=True)


def verify(path: Path, embedder: str, dimension: int) -> None:
    """Reads all files of the index in `path`; changes nothing. Raises IndexDamaged."""
    for segment in _read_manifest(path, embedder, dimension).segments:
        _checked(path, segment, thoroughly=True)


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_CHECK_BYTES):
            value = zlib.crc32(block, value)
    return value


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


def _checked(path: Path, segment: BuiltSegment, *, thoroughly: bool = False) -> Path:
    """The segment's file, if it is as it was written. Raises IndexDamaged."""
    file = path / segment.file
    try:
        stat = file.stat()
    except OSError as error:
        raise IndexDamaged(f"{file}: {error.strerror}") from error
    same = stat.st_mtime_ns == segment.written_ns and not thoroughly
    if stat.st_size != segment.bytes or not (same or checksum(file) == segment.checksum):
        raise IndexDamaged(f"{file} is not as it was written")
    return file
