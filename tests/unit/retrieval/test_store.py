from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.chunk import Chunk
from retrieval.errors import RetrievalError, StoreNotFound
from retrieval.parse import Document
from retrieval.store import EmbeddedBy, NewFile, Store

Pairs = Iterator[tuple[Chunk, NDArray[np.float32]]]


def pairs(count: int, fail_at: int = -1) -> Pairs:
    for number in range(count):
        if number == fail_at:
            raise OSError("the power is gone")
        text = f"text {number}"
        chunk = Chunk(
            start=number, end=number + 1, page=number, heading="H", text=text, embed_text=text
        )
        yield chunk, np.full(4, number, np.float32)


def new_file(chunks: Pairs, filename: str = "a.md") -> NewFile:
    return NewFile(
        filename=filename,
        sha256="0" * 64,
        bytes=3,
        document=Document(text="x" * 99, markup="markdown", page_starts=(0, 7)),
        chunks=chunks,
        embedder=EmbeddedBy("bag@1", 4),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "db")
    yield store
    store.close()


def test_a_file_is_stored_whole_or_not_at_all(store: Store) -> None:
    store_id = store.ensure_store("ann", "docs").id
    store.put_file("ann", store_id, new_file(pairs(3)))
    before = store.files("ann", store_id)
    with pytest.raises(OSError, match="power"):
        store.put_file("ann", store_id, new_file(pairs(5, fail_at=4)))
    with pytest.raises(OSError, match="power"):
        store.put_file("ann", store_id, new_file(pairs(5, fail_at=0), "b.md"))
    assert store.files("ann", store_id) == before
    assert len(store.vectors("ann", store_id)[0]) == 3
    written = store.put_file("ann", store_id, new_file(pairs(5)))
    assert (len(written.removed), len(written.added)) == (3, 5)
    assert not set(written.removed) & set(written.added)


def test_vectors_and_documents_come_back_as_they_were(store: Store) -> None:
    store_id = store.ensure_store("ann", "docs").id
    store.put_file("ann", store_id, new_file(pairs(3)))
    _, vectors = store.vectors("ann", store_id)
    assert vectors.tolist() == [[n] * 4 for n in range(3)]
    assert store.vectors("bob", store_id)[0].tolist() == []
    (file,) = store.files("ann", store_id)
    document = store.document(file.id)
    assert document is not None
    assert document.page_starts == (0, 7)


def test_ids_and_counts(store: Store) -> None:
    record = store.ensure_store("ann", "docs", ["bob", "*", "bob"])
    assert record == store.ensure_store("ann", "docs")
    assert record.readers == ("*", "bob")
    store.put_file("ann", record.id, new_file(pairs(3)))
    record = store.owned("ann", record.id)
    (file,) = store.files("bob", record.id)
    assert (record.file_count, record.chunk_count, file.chunk_count) == (1, 3, 3)
    assert record.id.startswith("vs_")
    assert len(record.id) == 27
    assert file.id.startswith("file-")
    assert len(file.id) == 29
    store.delete_store("ann", record.id)
    assert store.document(file.id) is None


def test_readers_read_and_only_the_owner_writes(store: Store) -> None:
    record = store.ensure_store("ann", "docs", ["bob"])
    assert store.resolve("bob", "docs") == record.id
    missing = "The vector store '{}' does not exist."
    for write in (
        lambda: store.put_file("bob", record.id, new_file(pairs(1))),
        lambda: store.delete_store("bob", record.id),
        lambda: store.delete_file("bob", record.id, "file-1"),
        lambda: store.resolve("carl", record.id),
        lambda: store.files("carl", record.id),
    ):
        with pytest.raises(StoreNotFound) as caught:
            write()
        assert str(caught.value) == missing.format(record.id)


def test_own_stores_go_before_shared_ones_of_the_same_name(store: Store) -> None:
    shared = store.ensure_store("ann", "docs", ["*"])
    assert store.resolve("bob", "docs") == shared.id
    own = store.ensure_store("bob", "docs")
    assert store.resolve("bob", "docs") == own.id
    assert store.resolve("bob", shared.id) == shared.id
    assert [record.id for record in store.stores("bob")] == [own.id, shared.id]


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    store._connection.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(RetrievalError, match="newer"):
        Store(tmp_path / "new")
