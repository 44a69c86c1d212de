"""The indexes against the database they are derived from, through every kind of change."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.chunk import Chunk
from retrieval.database import Database
from retrieval.index_source import IndexSource
from retrieval.indexes import Indexes, damage
from retrieval.store import EmbeddedBy, Written, insert_passages
from retrieval.vector_stores import VectorStores

DIMENSION = 16
EMBEDDER = EmbeddedBy("test", DIMENSION)
Query = NDArray[np.float32]


def unit(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Bench:
    """One store whose passages are written and deleted beneath the indexes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "test.sqlite3")
        self.store = VectorStores(self.database).ensure("owner", "store").id
        self.source = IndexSource(folder / "test.sqlite3")
        with self.database.transaction() as execute:
            execute(
                "INSERT INTO files (id, owner, purpose, filename, sha256, bytes, created_at)"
                " VALUES ('f', 'owner', 'assistants', 'f', '', 0, 0)"
            )
            execute(
                "INSERT INTO store_files (store_id, file_id, status, document_id, attributes,"
                " created_at) VALUES (?, 'f', 'completed', 'f', '{}', 0)",
                (self.store,),
            )
        self.indexes: Indexes
        self.open()

    def open(self, embedder: EmbeddedBy = EMBEDDER) -> None:
        self.indexes = Indexes(self.folder / "indexes", self.source, lambda: embedder)

    def reopen(self, change: Callable[[], object] = lambda: None) -> None:
        self.indexes.close()
        change()
        self.open()

    def add(self, count: int, *, parts: int = 1, seed: int = 0) -> Written:
        vectors = unit(count * parts, seed).reshape(count, parts, DIMENSION)
        with self.database.transaction() as execute:
            first = self.source.newest() + 1
            return Written(
                [],
                insert_passages(
                    execute,
                    1,
                    [
                        (passage(f"word{first + at} shared"), rows)
                        for at, rows in enumerate(vectors)
                    ],
                    EMBEDDER,
                ),
            )

    def delete(self, ids: list[int]) -> Written:
        with self.database.transaction() as execute:
            for chunk in ids:
                execute("DELETE FROM chunks WHERE id = ?", (chunk,))
        return Written(ids, [])

    def check(self, query: Query | None = None) -> None:
        """Vectors are found as comparing all finds them, words as they are in the texts."""
        query = unit(1, 99)[0] if query is None else query
        index = self.indexes.get(self.store)
        best: dict[int, float] = {}
        for ids, vectors in self.source.vectors(self.store, 0, self.source.newest(), DIMENSION):
            for chunk, score in zip(ids.tolist(), (vectors @ query).tolist(), strict=True):
                best[chunk] = max(score, best.get(chunk, -2.0))
        found, scores = index.vectors.search(query, 10)
        assert found.tolist() == sorted(best, key=lambda chunk: -best[chunk])[:10]
        assert scores.tolist() == pytest.approx([best[chunk] for chunk in found.tolist()], abs=1e-5)
        assert sorted(index.words.search("shared", 10_000).ids.tolist()) == sorted(best)


def spoiled(file: Path) -> None:
    """Zeros in a new file of its name: to cut one short that is still mapped ends the process."""
    size = file.stat().st_size
    file.unlink()
    file.write_bytes(bytes(size))


def passage(text: str) -> Chunk:
    return Chunk(start=0, end=len(text), page=None, heading="", text=text, embed_texts=())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.indexes.close()
    made.database.close()


@pytest.fixture
def small_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.segments.TAIL_ROWS", 100)


def test_it_follows_the_database_whoever_writes_it(bench: Bench) -> None:
    bench.check()
    bench.add(30, parts=3)  # nobody said so
    bench.check()
    bench.indexes.write(bench.store, lambda: bench.add(5, seed=1))
    bench.check()
    bench.indexes.write(bench.store, lambda: bench.delete([1, 2, 30, 31]))
    bench.check()
    bench.reopen(lambda: (bench.add(3, seed=2), bench.delete([4, 32])))
    bench.check()


def test_segments_are_built_joined_and_opened_again(bench: Bench, small_tails: None) -> None:
    bench.indexes.write(bench.store, lambda: bench.add(120, parts=2))
    bench.indexes.settle()
    index = bench.indexes.get(bench.store)
    assert index.vectors.built_to == 120
    bench.check()
    nearest = index.vectors.search(unit(1, 99)[0], 2)[0].tolist()
    bench.indexes.write(bench.store, lambda: bench.delete([*nearest, 1, 120]))
    bench.check()
    bench.indexes.write(bench.store, lambda: bench.add(150, seed=1))
    bench.indexes.settle()
    assert index.vectors.built_to == 270
    bench.check()
    folder = bench.folder / "indexes" / bench.store / "vectors"
    assert [file.name for file in folder.glob("*.usearch*")] == ["0-270.usearch"]
    (folder / "0-9.usearch.new").write_bytes(b"left over")
    bench.reopen(lambda: bench.delete([7]))
    bench.check()
    assert bench.indexes.get(bench.store).vectors.built_to == 270
    assert not (folder / "0-9.usearch.new").exists()


def test_a_filter_is_complete_in_segments(
    bench: Bench, small_tails: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.indexes.write(bench.store, lambda: bench.add(200))
    bench.indexes.settle()
    index = bench.indexes.get(bench.store)
    query = unit(1, 5)[0]
    within = np.arange(1, 201, 3)
    exactly = index.vectors.search(query, 20, within)[0].tolist()
    monkeypatch.setattr("retrieval.segments._EXACT_CHUNKS", 10)  # now among all, then exactly
    assert index.vectors.search(query, 20, within)[0].tolist() == exactly
    assert set(index.vectors.search(query, 500, within)[0].tolist()) == set(within.tolist())


@pytest.mark.parametrize("what", ["graph", "vectors", "manifest", "words"])
def test_what_is_damaged_is_built_anew(bench: Bench, small_tails: None, what: str) -> None:
    bench.indexes.write(bench.store, lambda: bench.add(120))
    bench.indexes.settle()
    folder = bench.folder / "indexes" / bench.store

    def spoil() -> None:
        if what == "graph":
            spoiled(next((folder / "vectors").glob("*.usearch")))
        elif what == "vectors":
            next((folder / "vectors").glob("*.vectors")).unlink()
        elif what == "manifest":
            (folder / "vectors" / "manifest.json").write_text("{")
        else:
            file = next((folder / "words").glob("*.term"))
            spoiled(file)
        assert damage(folder, bench.source, bench.store, EMBEDDER)

    bench.reopen(spoil)
    bench.check()
    bench.indexes.settle()
    bench.check()
    assert not damage(folder, bench.source, bench.store, EMBEDDER)


def test_another_embedders_index_is_not_used(bench: Bench, small_tails: None) -> None:
    bench.indexes.write(bench.store, lambda: bench.add(120))
    bench.indexes.settle()
    bench.indexes.close()
    bench.open(EmbeddedBy("other", DIMENSION))
    assert bench.indexes.get(bench.store).vectors.built_to == 0
    bench.check()


def test_the_index_of_a_store_goes_with_it(bench: Bench) -> None:
    bench.add(3)
    bench.check()
    bench.indexes.forget(lambda: None, bench.store)
    assert not (bench.folder / "indexes" / bench.store).exists()
    bench.check()  # the store was still there: it comes back from the database
    bench.reopen(lambda: bench.database.query("SELECT 1"))
    with bench.database.transaction() as execute:
        execute("DELETE FROM stores")
    bench.reopen()
    assert not (bench.folder / "indexes" / bench.store).exists()


def test_more_stores_than_are_open_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.indexes._OPEN_STORES", 1)
    bench.add(3)
    first = bench.indexes.get(bench.store)
    bench.indexes.get("another")
    assert bench.indexes.get(bench.store) is not first
    bench.indexes.write(bench.store, lambda: bench.add(2, seed=1))
    bench.check()
