"""`jurat bench-retrieval`: how fast the indexes of one large store are, and what they miss.

By default over made-up passages: words by Zipf's law, vectors near a plane of few dimensions, as
those of text are. `--from` takes the passages and vectors of a data directory instead; where it has
fewer than are asked for, again and again with noise in their vectors. Passages that are not put in
are the queries. The embedder is not a part of what is measured.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.chunk import Chunk
from retrieval.database import Database
from retrieval.index_source import IndexSource
from retrieval.indexes import Indexes
from retrieval.search import Asked, search
from retrieval.store import EmbeddedBy, Passage, Store, insert_passages
from retrieval.vector_stores import VectorStores

__all__ = ["main", "show"]

Vectors = NDArray[np.float32]

_OWNER = "bench"
_EMBEDDER = "bench"
_BATCH = 10_000
_WORDS = 130  # of a passage
_QUERY_WORDS = 8
_VOCABULARY = 50_000
_RANK = 32  # dimensions in which most of the spread of made-up vectors is
_NEIGHBOURS = 10  # of which recall is counted
_NOISE = 0.5  # length of what is added to a vector that is taken again, which has length 1


def main(argv: Sequence[str]) -> int:
    """Prints the figures as a table, or with --json as one object."""
    parser = argparse.ArgumentParser(prog="jurat bench-retrieval", description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000, help="passages in the store")
    parser.add_argument("--dimension", type=int, default=384, help="of the vectors")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--from", dest="taken", type=Path, metavar="DATA_DIR", help="real passages")
    parser.add_argument("--vectors-only", action="store_true", help="without words")
    parser.add_argument("--threads", type=int, default=1, help="that build a graph")
    parser.add_argument("--directory", type=Path, help="where to work; kept, and used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="jurat-bench-") as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        asked, passages = (
            _taken(options.taken, options.queries, options.chunks, options.dimension)
            if options.taken
            else _made_up(options.queries, options.chunks, options.dimension)
        )
        bench = _Bench(directory, asked, options.threads, not options.vectors_only)
        figures = bench.run(passages)
    show(figures, as_json=options.json)
    return 0


def show(figures: Mapping[str, float], *, as_json: bool) -> None:
    """Prints figures as a table, or as one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        sys.stdout.write(f"{name:{width}}  {value:,.3f}\n")


class _Bench:
    def __init__(
        self, directory: Path, asked: Sequence[Passage], threads: int, words: bool
    ) -> None:
        self._path = directory / "bench.sqlite3"
        self._indexes_path = directory / "indexes"
        self._asked = asked
        self._threads = threads
        self._words = words
        self._figures: dict[str, float] = {}

    def run(self, passages: Iterator[Passage]) -> dict[str, float]:
        database = Database(self._path)
        store = VectorStores(database).ensure(_OWNER, "bench")
        if not database.query("SELECT 1 FROM chunks LIMIT 1"):
            _fill(database, store.id, passages if self._words else map(_wordless, passages))
        source = IndexSource(self._path)
        (length,) = database.query("SELECT length(vector) FROM embeddings LIMIT 1")[0]
        embedder = EmbeddedBy(_EMBEDDER, length // 4)
        began = time.perf_counter()
        indexes = Indexes(self._indexes_path, source, lambda: embedder, self._threads)
        indexes.get(store.id)
        indexes.settle()
        self._figures["build s"] = time.perf_counter() - began
        indexes.close()

        before = _resident_mb()
        began = time.perf_counter()
        indexes = Indexes(self._indexes_path, source, lambda: embedder)
        index = indexes.get(store.id)
        self._figures["open s"] = time.perf_counter() - began
        self._figures["vectors"] = len(index.vectors)
        self._figures["expansion"] = index.vectors.expansion

        queries = np.vstack([vectors[:1] for _, vectors in self._asked])
        asked = [_some_words(chunk.text) for chunk, _ in self._asked]
        self._time("vector part", lambda at: index.vectors.search(queries[at], 50))
        if self._words:
            self._time("keyword part", lambda at: index.search_words(asked[at], 50, None))
            found = Store(database)

            def whole(at: int) -> object:
                given = _Given(embedder.dimension, queries[at])
                return asyncio.run(
                    search(found, indexes, given, _OWNER, [store.id], asked[at], Asked())
                )

            self._time("search without the embedder", whole)
        self._figures["resident MB"] = _resident_mb() - before
        self._recall(source, store.id, embedder.dimension, queries, index.vectors.search)
        indexes.close()
        database.close()
        return self._figures

    def _time(self, title: str, call: Callable[[int], object]) -> None:
        for at in range(min(20, len(self._asked))):
            call(at)
        took: list[float] = []
        computed: list[float] = []  # of the processor: says something on a busy machine, too
        for at in range(len(self._asked)):
            began, used = time.perf_counter(), time.process_time()
            call(at)
            took.append((time.perf_counter() - began) * 1000)
            computed.append((time.process_time() - used) * 1000)
        for percent in (50, 99):
            self._figures[f"{title} p{percent} ms"] = float(np.percentile(took, percent))
        self._figures[f"{title} processor p50 ms"] = float(np.percentile(computed, 50))

    def _recall(
        self,
        source: IndexSource,
        store_id: str,
        dimension: int,
        queries: Vectors,
        find: Callable[[Vectors, int], tuple[NDArray[np.int64], Vectors]],
    ) -> None:
        ids = np.empty((len(queries), 0), np.int64)
        scores = np.empty((len(queries), 0), np.float32)
        for held, vectors in source.vectors(store_id, 0, source.newest(), dimension):
            ids = np.hstack([ids, np.broadcast_to(held, (len(queries), len(held)))])
            scores = np.hstack([scores, queries @ vectors.T])
            best = np.argsort(-scores, axis=1)[:, : 4 * _NEIGHBOURS]  # parts repeat
            ids = np.take_along_axis(ids, best, axis=1)
            scores = np.take_along_axis(scores, best, axis=1)
        shares: list[float] = []
        for query, row in zip(queries, ids.tolist(), strict=True):
            true = set(list(dict.fromkeys(row))[:_NEIGHBOURS])
            shares.append(len(true & set(find(query, _NEIGHBOURS)[0].tolist())) / len(true))
        self._figures[f"recall@{_NEIGHBOURS}"] = float(np.mean(shares))


class _Given:
    """Stands for a warm embedder that has just made this vector."""

    identity = _EMBEDDER
    max_tokens = 512

    def __init__(self, dimension: int, vector: Vectors) -> None:
        self.dimension = dimension
        self._vector = vector

    async def embed(self, texts: Sequence[str], kind: Literal["query", "document"]) -> Vectors:
        return self._vector[None, :]

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def _made_up(queries: int, chunks: int, dimension: int) -> tuple[list[Passage], Iterator[Passage]]:
    """Queries, and what is put in."""
    draw = np.random.default_rng(0)
    plane = draw.standard_normal((_RANK, dimension)).astype(np.float32)
    share = 1 / np.arange(1, _VOCABULARY + 1)
    share /= share.sum()

    def passages(count: int) -> Iterator[Passage]:
        vectors = draw.standard_normal((count, _RANK)).astype(np.float32) @ plane
        vectors += draw.standard_normal((count, dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        words = draw.choice(_VOCABULARY, (count, _WORDS), p=share)
        for row, vector in zip(words.tolist(), vectors, strict=True):
            yield _chunk(" ".join(f"w{word}" for word in row)), vector[None, :]

    asked = list(passages(queries))
    counts = [min(_BATCH, chunks - first) for first in range(0, chunks, _BATCH)]
    return asked, chain.from_iterable(map(passages, counts))


def _taken(
    directory: Path, queries: int, chunks: int, dimension: int
) -> tuple[list[Passage], Iterator[Passage]]:
    """Queries, and what is put in. Of all stores of a data directory."""
    source = IndexSource(directory / "retrieval.sqlite3")
    held: list[Passage] = [
        (_chunk(text), source.vectors_of([chunk_id], dimension)[1])
        for store_id in source.stores()
        for chunk_id, text in source.texts(store_id, 0, source.newest())
    ]
    source.close()
    if len(held) <= queries:
        raise SystemExit(f"{directory} has {len(held)} passages; there are to be more than queries")
    draw = np.random.default_rng(0)
    held = [held[place] for place in draw.permutation(len(held)).tolist()]
    asked, held = held[:queries], held[queries:]

    def passages() -> Iterator[Passage]:
        for taken in range(chunks):
            chunk, vectors = held[taken % len(held)]
            if taken >= len(held):
                noise = draw.standard_normal(vectors.shape).astype(np.float32)
                vectors = vectors + noise * np.float32(_NOISE / np.sqrt(dimension))
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            yield chunk, vectors

    return asked, passages()


def _some_words(text: str) -> str:
    draw = np.random.default_rng(len(text))
    return " ".join(draw.choice(text.split() or ["nothing"], _QUERY_WORDS).tolist())


def _wordless(passage: Passage) -> Passage:
    return _chunk(""), passage[1]


def _chunk(text: str) -> Chunk:
    return Chunk(start=0, end=len(text), page=None, heading="", text=text, embed_texts=())


def _fill(database: Database, store_id: str, passages: Iterator[Passage]) -> None:
    """As files of many passages, a transaction each: the log of one for all would be as large."""
    for count, some in enumerate(iter(lambda: list(islice(passages, _BATCH)), [])):
        with database.transaction() as execute:
            execute(
                "INSERT INTO files (id, owner, purpose, filename, sha256, bytes, created_at)"
                " VALUES (?, ?, 'assistants', 'bench.txt', '', 0, 0)",
                (f"file-{count}", _OWNER),
            )
            (seq,) = execute(
                "INSERT INTO store_files (store_id, file_id, status, document_id, attributes,"
                " created_at) VALUES (?, ?, 'completed', 'bench', '{}', 0) RETURNING seq",
                (store_id, f"file-{count}"),
            ).fetchone()
            insert_passages(execute, seq, some, EmbeddedBy(_EMBEDDER, 0))


def _resident_mb() -> float:
    """Of this process: now where the system says it, else at most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
