# ruff: noqa: S608 - the SQL is put together from the constants of this package, never from values
"""Files in stores: put in, waiting, completed whole, failed, taken out; and batches of them."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from retrieval.database import Database, Execute, new_id, storable
from retrieval.errors import NotFound, QuotaExceeded
from retrieval.filters import Attribute
from retrieval.paging import read_page
from retrieval.parse import Document
from retrieval.store import EmbeddedBy, Passage, Written
from retrieval.store_file_rows import (
    SELECT,
    check_attributes,
    chunk_ids,
    chunking_of,
    end_without_passages,
    file_record,
    take_incomplete,
    write_attributes,
    write_passages,
)
from retrieval.types import (
    BatchRecord,
    Chunking,
    Cursor,
    ErrorCode,
    FileCounts,
    FileObject,
    FileRecord,
    FileStatus,
    Page,
    StoreRecord,
)
from retrieval.vector_stores import COUNTS, StoreChange, VectorStores

__all__ = ["Attached", "StoreFiles", "Waiting"]


class Attached(Struct, frozen=True, kw_only=True):
    """A file that is to be put into a store."""

    file_id: str
    attributes: Mapping[str, Attribute] = {}
    chunking: Chunking | None = None


class Waiting(NamedTuple):
    """A file in a store that is to be ingested. `revision` tells whether it still is."""

    seq: int
    revision: int
    owner: str
    store_id: str
    filename: str
    sha256: str
    chunking: Chunking | None


class StoreFiles:
    """Rows of `store_files`. A file is seen by searches once it is completed, and then whole."""

    def __init__(self, database: Database, stores: VectorStores) -> None:
        self._database = database
        self._stores = stores

    # Put in and taken out

    def attach(
        self, owner: str, store_id: str, given: Sequence[Attached], batch_id: str | None = None
    ) -> None:
        """Puts files into an own store, all or none, to be ingested.

        One that is there already is ingested anew; its passages can be found until then. Raises
        StoreNotFound, NotFound, QuotaExceeded and InvalidRequest.
        """
        with self._database.transaction() as execute:
            quota = self._stores.quota(owner, store_id)
            for one in given:
                self._attach(execute, owner, store_id, one, batch_id)
            held = execute(
                "SELECT TOTAL(f.bytes) FROM store_files sf JOIN files f ON f.id = sf.file_id"
                " WHERE sf.store_id = ? AND sf.status IN ('in_progress', 'completed')",
                (store_id,),
            ).fetchone()[0]
            if quota is not None and held > quota:
                raise QuotaExceeded(
                    "file_id",
                    f"the store would hold {int(held)} bytes of files; its quota is {quota}",
                )

    def create_store(
        self, owner: str, change: StoreChange, given: Sequence[Attached]
    ) -> StoreRecord:
        """A new store with files that wait in it. Raises as `attach`."""
        with self._database.transaction():
            store = self._stores.create(owner, change)
            self.attach(owner, store.id, given)
            return self._stores.read(owner, store.id)

    def create_batch(self, owner: str, store_id: str, given: Sequence[Attached]) -> BatchRecord:
        """As `attach`, with something to ask after them all by."""
        with self._database.transaction() as execute:
            self._stores.quota(owner, store_id)
            batch_id = new_id("vsfb_")
            execute(
                "INSERT INTO batches (id, store_id, created_at) VALUES (?, ?, ?)",
                (batch_id, store_id, self._database.now()),
            )
            self.attach(owner, store_id, given, batch_id)
            return self.batch(owner, store_id, batch_id)

    def remove(self, owner: str, store_id: str, file_id: str) -> Written:
        """Takes a file and its passages out of an own store. Raises StoreNotFound, NotFound."""
        with self._database.transaction() as execute:
            self._stores.check_owned(owner, store_id)
            row = self._row(store_id, file_id)
            removed = chunk_ids(execute, row["seq"])
            execute("DELETE FROM store_files WHERE seq = ?", (row["seq"],))
            self._database.depart("store_file", store_id, file_id, row["seq"])
            return Written(removed, [])

    def set_attributes(
        self, owner: str, store_id: str, file_id: str, attributes: Mapping[str, Attribute]
    ) -> FileRecord:
        """Replaces the attributes of a file. Raises StoreNotFound, NotFound, InvalidRequest."""
        check_attributes(attributes)
        with self._database.transaction() as execute:
            self._stores.check_owned(owner, store_id)
            row = self._row(store_id, file_id)
            write_attributes(execute, row["seq"], row["filename"], attributes)
            return self.read(owner, store_id, file_id)

    def put(
        self,
        owner: str,
        store_id: str,
        create: Callable[[], FileObject],
        document: Document,
        passages: Sequence[Passage],
        embedder: EmbeddedBy,
    ) -> Written:
        """Puts the file that `create` makes in, with its passages, for those of its name.

        Raises StoreNotFound, QuotaExceeded; then the file is not made either.
        """
        with self._database.transaction() as execute:
            self._stores.quota(owner, store_id)
            file = create()
            removed: list[int] = []
            for old in self.named(store_id, file.filename):
                removed += self.remove(owner, store_id, old.id).removed
            self.attach(owner, store_id, [Attached(file_id=file.id)])
            seq = self._row(store_id, file.id)["seq"]
            written = write_passages(execute, seq, document, passages, embedder)
            return Written(removed, written.added)

    def check_writable(self, owner: str, store_id: str) -> None:
        """Raises StoreNotFound, also where the owner may only search."""
        self._stores.quota(owner, store_id)

    # Read

    def holds(self, store_id: str, filename: str, sha256: str) -> bool:
        """Whether the store has that file with that content already."""
        rows = self._database.query(
            "SELECT 1 FROM store_files sf JOIN files f ON f.id = sf.file_id WHERE sf.store_id = ?"
            " AND f.filename = ? AND f.sha256 = ? AND sf.status = 'completed'",
            (store_id, filename, sha256),
        )
        return bool(rows)

    def read(self, owner: str, store_id: str, file_id: str) -> FileRecord:
        """A file of a store that the owner may see. Raises StoreNotFound, NotFound."""
        self._stores.check_readable(owner, store_id)
        return file_record(self._row(store_id, file_id))

    def page(
        self,
        owner: str,
        store_id: str,
        cursor: Cursor,
        status: FileStatus | None = None,
        batch_id: str | None = None,
    ) -> Page[FileRecord]:
        """Files of a store that the owner may see. Raises StoreNotFound, InvalidRequest."""
        self._stores.check_readable(owner, store_id)
        test = "sf.store_id = :store"
        if batch_id is not None:
            self.batch(owner, store_id, batch_id)
            test += " AND sf.batch_id = :batch"
        if status is not None:
            test += " AND sf.status = :status"
        found = read_page(
            self._database,
            f"{SELECT} WHERE {test}",
            {"store": store_id, "batch": batch_id, "status": status},
            cursor,
            seq="sf.seq",
            name="sf.file_id",
            kind="store_file",
            scope=store_id,
        )
        return Page(items=[file_record(row) for row in found.items], has_more=found.has_more)

    def all(self, owner: str, store_id: str) -> list[FileRecord]:
        """By name. Raises StoreNotFound."""
        self._stores.check_readable(owner, store_id)
        rows = self._database.query(
            f"{SELECT} WHERE sf.store_id = ? ORDER BY f.filename, sf.seq", (store_id,)
        )
        return [file_record(row) for row in rows]

    def stores_of(self, file_id: str) -> list[str]:
        """Ids of the stores that a file is in."""
        rows = self._database.query(
            "SELECT store_id FROM store_files WHERE file_id = ?", (storable(file_id),)
        )
        return [row[0] for row in rows]

    def named(self, store_id: str, filename: str) -> list[FileRecord]:
        """The files of that name, in the order that they came."""
        rows = self._database.query(
            f"{SELECT} WHERE sf.store_id = ? AND f.filename = ? ORDER BY sf.seq",
            (store_id, filename),
        )
        return [file_record(row) for row in rows]

    # Batches

    def batch(self, owner: str, store_id: str, batch_id: str) -> BatchRecord:
        """Raises StoreNotFound, NotFound."""
        self._stores.check_readable(owner, store_id)
        rows = self._database.query(
            f"SELECT b.*, (SELECT {COUNTS} FROM store_files sf WHERE sf.batch_id = b.id) AS counts"
            " FROM batches b WHERE b.id = ? AND b.store_id = ?",
            (storable(batch_id), store_id),
        )
        if not rows:
            raise NotFound("batch", batch_id)
        counts = [int(count) for count in json.loads(rows[0]["counts"])]
        return BatchRecord(
            id=batch_id,
            store_id=store_id,
            created_at=rows[0]["created_at"],
            cancelled=bool(rows[0]["cancelled"]),
            counts=FileCounts(
                in_progress=counts[0], completed=counts[1], failed=counts[2], cancelled=counts[3]
            ),
        )

    def cancel_batch(self, owner: str, store_id: str, batch_id: str) -> tuple[BatchRecord, Written]:
        """Cancels what of a batch still waits; does nothing to one that is done."""
        with self._database.transaction() as execute:
            self._stores.check_owned(owner, store_id)
            removed: list[int] = []
            if self.batch(owner, store_id, batch_id).status == "in_progress":
                rows = execute(
                    "SELECT seq FROM store_files WHERE batch_id = ? AND status = 'in_progress'",
                    (batch_id,),
                ).fetchall()
                for (seq,) in rows:
                    removed += end_without_passages(execute, seq, "cancelled")
                execute("UPDATE batches SET cancelled = 1 WHERE id = ?", (batch_id,))
            return self.batch(owner, store_id, batch_id), Written(removed, [])

    # What waits to be ingested, over all owners

    def waiting(self, busy: Sequence[int]) -> list[Waiting]:
        """Of each owner the one that has waited longest, apart from those in `busy`."""
        rows = self._database.query(
            f"""SELECT s.owner, sf.*, f.filename, f.sha256, MIN(sf.seq)
            FROM store_files sf JOIN files f ON f.id = sf.file_id JOIN stores s
            ON s.id = sf.store_id WHERE sf.status = 'in_progress'
            AND sf.seq NOT IN ({", ".join("?" * len(busy))}) GROUP BY s.owner""",
            list(busy),
        )
        return [
            Waiting(
                seq=row["seq"],
                revision=row["revision"],
                owner=row["owner"],
                store_id=row["store_id"],
                filename=row["filename"],
                sha256=row["sha256"],
                chunking=chunking_of(row),
            )
            for row in rows
        ]

    def ended(self, known: Sequence[Waiting]) -> list[Waiting]:
        """Those of `known` that nobody waits for any more, or not as they were."""
        still = {
            (row[0], row[1])
            for one in known
            for row in self._database.query(
                "SELECT seq, revision FROM store_files WHERE seq = ? AND revision = ?"
                " AND status = 'in_progress'",
                (one.seq, one.revision),
            )
        }
        return [one for one in known if (one.seq, one.revision) not in still]

    def complete(
        self,
        waiting: Waiting,
        document: Document,
        passages: Sequence[Passage],
        embedder: EmbeddedBy,
    ) -> Written | None:
        """Makes the file visible, whole; None where it has been deleted, cancelled or replaced."""
        with self._database.transaction() as execute:
            if self.ended([waiting]):
                return None
            return write_passages(execute, waiting.seq, document, passages, embedder)

    def fail(self, waiting: Waiting, code: ErrorCode, message: str) -> Written | None:
        """Says why the file cannot be had; None where nobody waits for it any more."""
        with self._database.transaction() as execute:
            if self.ended([waiting]):
                return None
            return Written(end_without_passages(execute, waiting.seq, "failed", code, message), [])

    def take_incomplete(self) -> int:
        """Has completed files that lack passages or vectors wait anew; returns how many."""
        with self._database.transaction() as execute:
            return take_incomplete(execute)

    def chunking(self, seq: int) -> Chunking | None:
        """How a file in a store is to be cut, if not as the settings say. Over all owners."""
        rows = self._database.query("SELECT * FROM store_files WHERE seq = ?", (seq,))
        return chunking_of(rows[0]) if rows else None

    # Below, in the caller's transaction

    def _attach(
        self, execute: Execute, owner: str, store_id: str, given: Attached, batch_id: str | None
    ) -> None:
        check_attributes(given.attributes)
        file = execute(
            "SELECT filename FROM files WHERE id = ? AND owner = ?",
            (storable(given.file_id), owner),
        ).fetchone()
        if file is None:
            raise NotFound("file", given.file_id)
        chunking = given.chunking
        values = (
            batch_id,
            chunking and chunking.chunk_tokens,
            None if chunking is None else chunking.overlap_tokens,
        )
        (seq,) = execute(
            "INSERT INTO store_files (store_id, file_id, batch_id, chunk_tokens, overlap_tokens,"
            " status, document_id, attributes, created_at)"
            " VALUES (?, ?, ?, ?, ?, 'in_progress', '', '{}', ?)"
            " ON CONFLICT (store_id, file_id) DO UPDATE SET batch_id = excluded.batch_id,"
            " chunk_tokens = excluded.chunk_tokens, overlap_tokens = excluded.overlap_tokens,"
            " status = 'in_progress', error_code = NULL, error_message = NULL,"
            " revision = revision + 1 RETURNING seq",
            (store_id, given.file_id, *values, self._database.now()),
        ).fetchone()
        write_attributes(execute, seq, file["filename"], given.attributes)

    def _row(self, store_id: str, file_id: str) -> sqlite3.Row:
        rows = self._database.query(
            f"{SELECT} WHERE sf.store_id = ? AND sf.file_id = ?", (store_id, storable(file_id))
        )
        if not rows:
            raise NotFound("file", file_id)
        return rows[0]
