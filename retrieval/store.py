# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""The truth: stores, files, texts, chunks and vectors in one SQLite database.

Synchronous: every call holds a lock and may wait for the disk, so callers on an event loop use a
thread. Every call that reads or writes documents names the owner on whose behalf it does, apart
from the three at the end that re-embed everything.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from retrieval.chunk import Chunk
from retrieval.errors import InvalidRequest, RetrievalError, StoreNotFound
from retrieval.parse import Document
from retrieval.schema import migrate
from retrieval.types import FileRecord, Hit, StoreRecord

__all__ = ["EmbeddedBy", "NewFile", "Store", "Written"]

_BUSY_MS = 10_000
_LONGEST_STORE_NAME = 256

# Whose passages may be seen: one condition, in every query that reads for a searcher.
_VISIBLE = """(s.owner = :owner OR EXISTS (
    SELECT 1 FROM readers r WHERE r.store_id = s.id AND r.reader IN (:owner, '*')))"""

_STORE_COLUMNS = """s.id, s.owner, s.name, s.created_at,
    (SELECT json_group_array(reader) FROM readers r WHERE r.store_id = s.id) AS readers,
    (SELECT COUNT(*) FROM files f WHERE f.store_id = s.id) AS file_count,
    (SELECT COUNT(*) FROM files f JOIN chunks c ON c.file_id = f.id
     WHERE f.store_id = s.id) AS chunk_count"""


class EmbeddedBy(NamedTuple):
    """The model that made vectors."""

    identity: str
    dimension: int


class NewFile(Struct, frozen=True, kw_only=True):
    """A file ready to be stored. `chunks` is read inside the transaction."""

    filename: str
    sha256: str
    bytes: int
    document: Document
    chunks: Iterable[tuple[Chunk, NDArray[np.float32]]]
    embedder: EmbeddedBy


class Written(NamedTuple):
    """What a write changed, for the indexes derived from it."""

    removed: list[int]
    added: list[int]


class Store:
    """Opens or creates the database at `path`; raises RetrievalError when it is not one."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._connection.execute("PRAGMA journal_mode = WAL")
            # What was reported done survives a power cut, too.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            migrate(self._connection)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise RetrievalError(f"{path} cannot be opened as a database: {error}") from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Waits for the call in progress. Later calls raise sqlite3.ProgrammingError."""
        with self._lock:
            self._connection.close()

    # Stores

    def ensure_store(
        self, owner: str, name: str, readers: Sequence[str] | None = None
    ) -> StoreRecord:
        """The owner's store of that name, made if missing; `readers`, when given, replace its own.

        Raises InvalidRequest for a name that is empty or too long.
        """
        _check_names(owner, name)
        with self._transaction() as execute:
            execute(
                "INSERT INTO stores (id, owner, name, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (owner, name) DO NOTHING",
                (_new_id("vs_"), owner, name, int(time.time())),
            )
            (store_id,) = execute(
                "SELECT id FROM stores WHERE owner = ? AND name = ?", (owner, name)
            ).fetchone()
            if readers is not None:
                execute("DELETE FROM readers WHERE store_id = ?", (store_id,))
                for reader in sorted(set(readers)):
                    execute("INSERT INTO readers VALUES (?, ?)", (store_id, reader))
            return self._owned(owner, store_id)

    def stores(self, owner: str) -> list[StoreRecord]:
        """What the owner may search, own stores first, then by age."""
        rows = self._query(
            f"SELECT {_STORE_COLUMNS} FROM stores s WHERE {_VISIBLE}"
            " ORDER BY s.owner != :owner, s.created_at, s.id",
            {"owner": owner},
        )
        return [_store_record(row) for row in rows]

    def resolve(self, owner: str, store: str) -> str:
        """The id of the store that `store` names, by id or by name, among those `owner` may search.

        An own store goes before a shared one of the same name. Raises StoreNotFound.
        """
        rows = self._query(
            f"SELECT s.id FROM stores s WHERE {_VISIBLE} AND (s.id = :store OR s.name = :store)"
            " ORDER BY s.id != :store, s.owner != :owner, s.created_at, s.id LIMIT 1",
            {"owner": owner, "store": _storable(store)},
        )
        if not rows:
            raise StoreNotFound(store)
        return rows[0]["id"]

    def owned(self, owner: str, store_id: str) -> StoreRecord:
        """The owner's own store, to write to. Raises StoreNotFound, also where it may only read."""
        with self._lock:
            return self._owned(owner, store_id)

    def delete_store(self, owner: str, store_id: str) -> None:
        """Removes the store and all that is in it. Raises StoreNotFound."""
        with self._transaction() as execute:
            self._owned(owner, store_id)
            execute("DELETE FROM stores WHERE id = ?", (store_id,))

    # Files

    def files(self, owner: str, store_id: str) -> list[FileRecord]:
        """By name, of a store that `owner` may search. Raises StoreNotFound."""
        self.resolve(owner, store_id)
        rows = self._query(
            "SELECT f.*, (SELECT COUNT(*) FROM chunks c WHERE c.file_id = f.id) AS chunk_count"
            " FROM files f JOIN stores s ON s.id = f.store_id"
            f" WHERE s.id = :store AND {_VISIBLE} ORDER BY f.filename",
            {"owner": owner, "store": store_id},
        )
        return [_file_record(row) for row in rows]

    def holds(self, owner: str, store_id: str, filename: str, sha256: str) -> bool:
        """Whether the owner's store has that file with that content already."""
        rows = self._query(
            "SELECT 1 FROM files f JOIN stores s ON s.id = f.store_id WHERE s.owner = ?"
            " AND s.id = ? AND f.filename = ? AND f.sha256 = ?",
            (owner, store_id, filename, sha256),
        )
        return bool(rows)

    def put_file(self, owner: str, store_id: str, file: NewFile) -> Written:
        """Stores the file in one transaction, in place of the one of its name if there is one.

        Raises StoreNotFound.
        """
        with self._transaction() as execute:
            self._owned(owner, store_id)
            removed = [
                row[0]
                for row in execute(
                    "SELECT c.id FROM chunks c JOIN files f ON f.id = c.file_id"
                    " WHERE f.store_id = ? AND f.filename = ?",
                    (store_id, file.filename),
                )
            ]
            execute(
                "DELETE FROM files WHERE store_id = ? AND filename = ?", (store_id, file.filename)
            )
            file_id = _new_id("file-")
            execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    file_id,
                    store_id,
                    file.filename,
                    PurePosixPath(file.filename).stem,
                    file.sha256,
                    file.bytes,
                    int(time.time()),
                    *file.embedder,
                ),
            )
            document = file.document
            execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?)",
                (file_id, document.markup, json.dumps(document.page_starts), document.text),
            )
            return Written(removed, self._insert_chunks(file_id, file.chunks))

    def delete_file(self, owner: str, store_id: str, file_id: str) -> Written:
        """Removes a file and its passages. Raises StoreNotFound, or InvalidRequest for the file."""
        with self._transaction() as execute:
            self._owned(owner, store_id)
            removed = [
                row[0] for row in execute("SELECT id FROM chunks WHERE file_id = ?", (file_id,))
            ]
            gone = execute("DELETE FROM files WHERE id = ? AND store_id = ?", (file_id, store_id))
            if gone.rowcount == 0:
                raise InvalidRequest("file_id", f"the store has no file '{file_id}'")
            return Written(removed, [])

    # Passages

    def vectors(self, owner: str, store_id: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Chunk ids, shape (n,), ascending, and their vectors, shape (n, dimension).

        Nothing, shape (0, 0), for a store that is empty or that `owner` may not search.
        """
        with self._lock:
            rows = self._connection.execute(
                "SELECT e.chunk_id, e.vector FROM embeddings e JOIN chunks c ON c.id = e.chunk_id"
                " JOIN files f ON f.id = c.file_id JOIN stores s ON s.id = f.store_id"
                f" WHERE s.id = :store AND {_VISIBLE} ORDER BY e.chunk_id",
                {"owner": owner, "store": store_id},
            )
            ids: list[int] = []
            blobs = bytearray()
            for chunk_id, blob in rows:
                ids.append(chunk_id)
                blobs += blob
        flat = np.frombuffer(blobs, dtype=np.float32)
        return np.array(ids, np.int64), flat.reshape(len(ids), -1) if ids else flat.reshape(0, 0)

    def hits(self, owner: str, scores: Mapping[int, float]) -> list[Hit]:
        """The passages of those chunk ids that are still there and `owner` may see, unordered."""
        rows = self._query(
            "SELECT c.*, f.store_id, f.document_id, f.filename FROM json_each(:ids) wanted"
            " JOIN chunks c ON c.id = wanted.value JOIN files f ON f.id = c.file_id"
            f" JOIN stores s ON s.id = f.store_id WHERE {_VISIBLE}",
            {"owner": owner, "ids": json.dumps(list(scores))},
        )
        return [
            Hit(
                chunk_id=row["id"],
                store_id=row["store_id"],
                file_id=row["file_id"],
                document_id=row["document_id"],
                filename=row["filename"],
                page=row["page"],
                heading=row["heading"],
                start=row["start"],
                end=row["end"],
                score=scores[row["id"]],
                text=row["text"],
            )
            for row in rows
        ]

    # Marks

    def mark(self, key: str) -> None:
        """Remembers that something was done once, whatever becomes of it later."""
        with self._transaction() as execute:
            execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(int(time.time()))))

    def marked(self, key: str) -> bool:
        return bool(self._query("SELECT 1 FROM meta WHERE key = ?", (key,)))

    # Re-embedding: for whoever runs the process, over all owners

    def embedded_otherwise(self, embedder: EmbeddedBy) -> list[tuple[str, EmbeddedBy]]:
        """Ids of the files whose vectors another model made, and that model."""
        rows = self._query(
            "SELECT id, embedder, dimension FROM files WHERE embedder != ? OR dimension != ?"
            " ORDER BY id",
            embedder,
        )
        return [(row[0], EmbeddedBy(row[1], row[2])) for row in rows]

    def document(self, file_id: str) -> Document | None:
        """The text that was stored; None when the file is gone."""
        rows = self._query("SELECT * FROM documents WHERE file_id = ?", (file_id,))
        return (
            Document(
                text=rows[0]["text"],
                markup=rows[0]["markup"],
                page_starts=tuple(json.loads(rows[0]["page_starts"])),
            )
            if rows
            else None
        )

    def replace_chunks(
        self,
        file_id: str,
        chunks: Iterable[tuple[Chunk, NDArray[np.float32]]],
        embedder: EmbeddedBy,
    ) -> None:
        """Gives the file new chunks in one transaction; does nothing when it is gone."""
        with self._transaction() as execute:
            found = execute(
                "UPDATE files SET embedder = ?, dimension = ? WHERE id = ?", (*embedder, file_id)
            )
            if found.rowcount:
                execute("DELETE FROM chunks WHERE file_id = ?", (file_id,))
                self._insert_chunks(file_id, chunks)

    # Below, the lock is held or taken

    def _owned(self, owner: str, store_id: str) -> StoreRecord:
        rows = self._query(
            f"SELECT {_STORE_COLUMNS} FROM stores s WHERE s.owner = ? AND s.id = ?",
            (owner, _storable(store_id)),
        )
        if not rows:
            raise StoreNotFound(store_id)
        return _store_record(rows[0])

    def _insert_chunks(
        self, file_id: str, chunks: Iterable[tuple[Chunk, NDArray[np.float32]]]
    ) -> list[int]:
        execute = self._connection.execute
        added: list[int] = []
        for chunk, vector in chunks:
            row = execute(
                "INSERT INTO chunks (file_id, start, end, page, heading, text)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (file_id, chunk.start, chunk.end, chunk.page, chunk.heading, chunk.text),
            )
            assert row.lastrowid is not None
            blob = np.ascontiguousarray(vector, np.float32).tobytes()
            execute("INSERT INTO embeddings VALUES (?, ?)", (row.lastrowid, blob))
            added.append(row.lastrowid)
        return added

    def _query(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object]
    ) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[Any]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)


def _storable(text: str) -> str:
    # SQLite takes no lone surrogates; replaced, they match nothing.
    return text.encode("utf-8", "replace").decode()


def _check_names(owner: str, name: str) -> None:
    for param, value in (("owner", owner), ("name", name)):
        if not value.strip() or len(value) > _LONGEST_STORE_NAME or _storable(value) != value:
            raise InvalidRequest(param, f"must be 1 to {_LONGEST_STORE_NAME} characters of text")


def _store_record(row: sqlite3.Row) -> StoreRecord:
    return StoreRecord(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        readers=tuple(sorted(json.loads(row["readers"]))),
        created_at=row["created_at"],
        file_count=row["file_count"],
        chunk_count=row["chunk_count"],
    )


def _file_record(row: sqlite3.Row) -> FileRecord:
    return FileRecord(
        id=row["id"],
        store_id=row["store_id"],
        filename=row["filename"],
        document_id=row["document_id"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        chunk_count=row["chunk_count"],
        created_at=row["created_at"],
    )
