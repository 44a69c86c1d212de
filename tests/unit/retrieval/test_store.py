import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval import schema
from retrieval.database import Database
from retrieval.errors import (
    DiskFull,
    NotFound,
    QuotaExceeded,
    RetrievalError,
    StoreNotFound,
    StoreReadOnly,
)
from retrieval.filters import Comparison
from retrieval.store_files import Attached
from retrieval.types import Cursor
from retrieval.vector_stores import StoreChange
from tests.unit.retrieval.collection import DOCUMENT, EMBEDDER, Collection, opened, passages


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with opened(tmp_path / "data") as found:
        yield found


def test_a_file_is_stored_whole_or_not_at_all(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    collection.put("ann", store_id, passages(3))
    before = collection.store_files.all("ann", store_id)
    with pytest.raises(OSError, match="power"):
        collection.put("ann", store_id, passages(5, fail_at=4))
    with pytest.raises(OSError, match="power"):
        collection.put("ann", store_id, passages(5, fail_at=0), "b.md")
    assert collection.store_files.all("ann", store_id) == before
    assert len(collection.vectors(store_id)[0]) == 3
    written = collection.put("ann", store_id, passages(5))
    assert (len(written.removed), len(written.added)) == (3, 5)
    assert not set(written.removed) & set(written.added)


def test_vectors_come_back_as_they_were_part_by_part(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    collection.put("ann", store_id, passages(3, parts=2))
    store = collection.store
    ids, vectors = collection.vectors(store_id)
    assert ids.tolist() == [ids[0], ids[0], ids[2], ids[2], ids[4], ids[4]]
    assert vectors.tolist() == [[n] * 4 for n in (0, 0, 1, 1, 2, 2)]
    assert store.chunk_ids("ann", store_id).tolist() == sorted(set(ids.tolist()))
    assert store.chunk_ids("bob", store_id).tolist() == []


def test_documents_come_back_as_they_were(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    collection.put("ann", store_id, passages(3))
    (key, _), *_ = collection.store.embedded_otherwise(EMBEDDER._replace(dimension=5))
    assert collection.store.document(key) == DOCUMENT
    (file,) = collection.store_files.all("ann", store_id)
    assert collection.store.text("ann", store_id, file.id) == DOCUMENT.text
    assert collection.store.text("bob", store_id, file.id) is None


def test_ids_and_counts(collection: Collection) -> None:
    record = collection.stores.ensure("ann", "docs", ["bob", "*", "bob"])
    assert record == collection.stores.ensure("ann", "docs")
    assert record.readers == ("*", "bob")
    collection.put("ann", record.id, passages(3, parts=2))
    record = collection.stores.read("ann", record.id)
    (file,) = collection.store_files.all("bob", record.id)
    assert (record.file_count, record.chunk_count, file.chunk_count) == (1, 3, 3)
    assert record.usage_bytes == file.usage_bytes == 3 * (2 * 16 + len("text 0"))
    assert record.id.startswith("vs_")
    assert len(record.id) == 27
    assert file.id.startswith("file-")
    assert len(file.id) == 29
    collection.stores.delete("ann", record.id)
    assert collection.database.query("SELECT * FROM chunks") == []
    assert collection.database.query("SELECT * FROM embeddings") == []
    assert collection.files.read("ann", file.id).filename == "a.md"


def test_readers_read_and_only_the_owner_writes(collection: Collection) -> None:
    record = collection.stores.ensure("ann", "docs", ["bob"])
    assert collection.store.resolve("bob", "docs") == record.id
    collection.upload("bob", "b.md")
    for write in (
        lambda: collection.put("bob", record.id, passages(1)),
        lambda: collection.stores.delete("bob", record.id),
        lambda: collection.store_files.remove("bob", record.id, "file-1"),
        lambda: collection.store_files.create_batch("bob", record.id, []),
    ):
        with pytest.raises(StoreReadOnly):
            write()
    missing = f"The vector store '{record.id}' does not exist."
    for read in (
        lambda: collection.store.resolve("carl", record.id),
        lambda: collection.store_files.all("carl", record.id),
        lambda: collection.stores.delete("carl", record.id),
    ):
        with pytest.raises(StoreNotFound) as caught:
            read()
        assert str(caught.value) == missing


def test_own_stores_go_before_shared_ones_of_the_same_name(collection: Collection) -> None:
    shared = collection.stores.ensure("ann", "docs", ["*"])
    assert collection.store.resolve("bob", "docs") == shared.id
    own = collection.stores.ensure("bob", "docs")
    assert collection.store.resolve("bob", "docs") == own.id
    assert collection.store.resolve("bob", shared.id) == shared.id
    assert [record.id for record in collection.stores.all("bob")] == [own.id, shared.id]


def test_filtered_chunk_ids(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    for name, year in (("a.md", 2023), ("b.md", 2024)):
        collection.put("ann", store_id, passages(2), name)
        file = collection.store_files.named(store_id, name)[0]
        collection.store_files.set_attributes("ann", store_id, file.id, {"year": year})
    found = collection.store.chunk_ids("ann", store_id, Comparison("eq", "year", (2024,)))
    hits = collection.store.hits("ann", dict.fromkeys(found.tolist(), 1.0))
    assert [(hit.filename, hit.attributes) for hit in hits] == [("b.md", {"year": 2024})] * 2
    nobody = collection.store.chunk_ids("bob", store_id, Comparison("eq", "year", (2024,)))
    assert nobody.dtype == np.int64
    assert nobody.tolist() == []


def test_a_file_of_another_cannot_be_put_into_an_own_store(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    file = collection.upload("bob", "b.md")
    with pytest.raises(NotFound, match=f"'{file.id}' does not exist"):
        collection.store_files.attach("ann", store_id, [Attached(file_id=file.id)])


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as collection, collection.database.transaction() as execute:
        execute("PRAGMA user_version = 99")
    with pytest.raises(RetrievalError, match="newer"):
        Database(tmp_path / "data" / "db")


def test_a_database_of_version_1_keeps_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    connection = sqlite3.connect(folder / "db")
    connection.executescript(
        schema._FIRST
        + """
        PRAGMA user_version = 1;
        INSERT INTO stores VALUES ('vs_1', 'ann', 'docs', 1700000000);
        INSERT INTO readers VALUES ('vs_1', '*');
        INSERT INTO files VALUES ('file-1', 'vs_1', 'a.md', 'a', 'aa', 7, 1700000001, 'bag@1', 4);
        INSERT INTO files VALUES ('file-2', 'vs_1', 'b.md', 'b', 'bb', 8, 1700000002, 'bag@1', 4);
        INSERT INTO documents VALUES ('file-1', 'markdown', '[0, 3]', 'whole text');
        INSERT INTO chunks VALUES (5, 'file-1', 0, 5, 1, 'H', 'whole');
        INSERT INTO chunks VALUES (9, 'file-2', 0, 5, NULL, '', 'other');
        """
    )
    for chunk in (5, 9):
        vector = np.full(4, chunk, np.float32).tobytes()
        connection.execute("INSERT INTO embeddings VALUES (?, ?)", (chunk, vector))
    connection.execute("DELETE FROM files WHERE id = 'file-2'")
    connection.execute("DELETE FROM chunks WHERE id = 9")
    connection.execute("DELETE FROM embeddings WHERE chunk_id = 9")
    connection.commit()
    connection.close()
    with opened(folder) as collection:
        (record,) = collection.stores.all("bob")
        assert (record.id, record.name, record.readers) == ("vs_1", "docs", ("*",))
        (file,) = collection.store_files.all("ann", "vs_1")
        assert (file.id, file.filename, file.status) == ("file-1", "a.md", "completed")
        assert (file.document_id, file.chunk_count, file.usage_bytes) == ("a", 1, 5 + 16)
        assert collection.files.read("ann", "file-1").bytes == 7
        assert collection.store.text("ann", "vs_1", "file-1") == "whole text"
        assert collection.vectors("vs_1")[1].tolist() == [[5.0] * 4]
        assert collection.database.query("PRAGMA foreign_key_check") == []
        # Ids of chunks that were deleted before are not used again.
        assert min(collection.put("ann", "vs_1", passages(1), "c.md").added) > 9


def test_a_file_that_cannot_be_put_in_is_not_made_either(collection: Collection) -> None:
    record = collection.stores.ensure("ann", "docs")
    collection.stores.update("ann", record.id, StoreChange(quota_bytes=3))
    for store_id, error in ((record.id, QuotaExceeded), ("vs_nope", StoreNotFound)):
        with pytest.raises(error):
            collection.put("ann", store_id, passages(1))
    assert collection.files.page("ann", Cursor()).items == []
    collection.files.sweep()  # what was adopted before that goes with the next start
    assert list(collection.blobs.path("00").parent.parent.rglob("?" * 64)) == []


def test_a_full_disk_changes_nothing_and_passes(collection: Collection) -> None:
    store_id = collection.stores.ensure("ann", "docs").id
    collection.put("ann", store_id, passages(3))
    before = collection.store_files.all("ann", store_id)
    with collection.database.transaction() as execute:
        (pages,) = execute("PRAGMA page_count").fetchone()
        execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull):
        collection.put("ann", store_id, passages(500))
    assert collection.store_files.all("ann", store_id) == before
    with collection.database.transaction() as execute:
        execute(f"PRAGMA max_page_count = {1000 * pages}")
    assert len(collection.put("ann", store_id, passages(500)).added) == 500
