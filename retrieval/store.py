# ruff: noqa: S608 - the SQL is put together from the constants of this package, never from values
"""What a search reads: whose stores there are, their passages, and the vectors of these.

Synchronous: every call may wait for the disk, so callers on an event loop use a thread. Every call
names the owner on whose behalf it reads, apart from those at the end that re-embed everything.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from retrieval.chunk import Chunk
from retrieval.database import Database, Execute, storable
from retrieval.errors import StoreExpired, StoreNotFound
from retrieval.filters import Filter, condition
from retrieval.parse import Document
from retrieval.types import Hit

__all__ = ["VISIBLE", "EmbeddedBy", "Passage", "Store", "Written", "insert_passages"]

# Whose passages may be seen: one condition, in every query that reads for a searcher.
VISIBLE = """(s.expired = 0 AND (s.owner = :owner OR EXISTS (
    SELECT 1 FROM readers r WHERE r.store_id = s.id AND r.reader IN (:owner, '*'))))"""

_OF_STORE = f"""FROM stores s JOIN store_files sf ON sf.store_id = s.id
    JOIN chunks c ON c.store_file = sf.seq
    WHERE s.id = :store AND {VISIBLE}"""

Ids = NDArray[np.int64]
Passage = tuple[Chunk, NDArray[np.float32]]  # with its vectors, shape (parts, dimension)


class EmbeddedBy(NamedTuple):
    """The model that made vectors."""

    identity: str
    dimension: int


class Written(NamedTuple):
    """What a write changed, for the indexes derived from it.

    `added` has a chunk's id once for each of its vectors, in the order that they were given.
    """

    removed: list[int]
    added: list[int]


class Store:
    """Reads of committed state, each a consistent one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def resolve(self, owner: str, store: str) -> str:
        """The id of the store that `store` names, by id or by name, among those `owner` may search.

        An own store goes before a shared one of the same name, an older one before a younger.
        Raises StoreNotFound; StoreExpired of an own one.
        """
        named = "(s.id = :store OR s.name = :store)"
        values = {"owner": owner, "store": storable(store)}
        rows = self._database.query(
            f"SELECT s.id FROM stores s WHERE {VISIBLE} AND {named}"
            " ORDER BY s.id != :store, s.owner != :owner, s.seq LIMIT 1",
            values,
        )
        if rows and store:
            return rows[0]["id"]
        expired = f"SELECT 1 FROM stores s WHERE s.owner = :owner AND s.expired = 1 AND {named}"
        if store and self._database.query(expired, values):
            raise StoreExpired(store)
        raise StoreNotFound(store)

    def chunk_ids(self, owner: str, store_id: str, filters: Filter | None = None) -> Ids:
        """The ids of all passages, or of those of files that `filters` are true of, ascending.

        Shape (n,). Nothing for a store that `owner` may not search.
        """
        test, values = ("TRUE", []) if filters is None else condition(filters)
        # Named parameters and places do not mix: the filter's become named, too.
        names = {f"f{place}": value for place, value in enumerate(values)}
        for name in names:
            test = test.replace("?", f":{name}", 1)
        with self._database.rows(
            f"SELECT c.id {_OF_STORE} AND {test} ORDER BY c.id",
            {"owner": owner, "store": store_id, **names},
        ) as rows:
            return np.fromiter((row[0] for row in rows), np.int64)

    def hits(self, owner: str, scores: Mapping[int, float]) -> list[Hit]:
        """The passages of those chunk ids that are still there and `owner` may see, unordered."""
        rows = self._database.query(
            "SELECT c.*, sf.store_id, sf.file_id, sf.document_id, sf.attributes, f.filename"
            " FROM json_each(:ids) wanted JOIN chunks c ON c.id = wanted.value"
            " JOIN store_files sf ON sf.seq = c.store_file JOIN files f ON f.id = sf.file_id"
            f" JOIN stores s ON s.id = sf.store_id WHERE {VISIBLE}",
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
                attributes=json.loads(row["attributes"]),
            )
            for row in rows
        ]

    def text(self, owner: str, store_id: str, file_id: str) -> str | None:
        """The text that passages are cut from; None where there is none that `owner` may see."""
        rows = self._database.query(
            "SELECT d.text FROM stores s JOIN store_files sf ON sf.store_id = s.id"
            " JOIN documents d ON d.store_file = sf.seq"
            f" WHERE s.id = :store AND sf.file_id = :file AND {VISIBLE}",
            {"owner": owner, "store": store_id, "file": file_id},
        )
        return rows[0][0] if rows else None

    def documents(self, owner: str, store_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """The store, id and name of every completed file that `owner` may search, by name."""
        rows = self._database.query(
            "SELECT sf.store_id, sf.file_id, f.filename FROM store_files sf"
            " JOIN files f ON f.id = sf.file_id JOIN stores s ON s.id = sf.store_id"
            " WHERE sf.status = 'completed' AND s.id IN (SELECT value FROM json_each(:stores))"
            f" AND {VISIBLE} ORDER BY f.filename, sf.seq",
            {"owner": owner, "stores": json.dumps(list(store_ids))},
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def openings(self, owner: str, store_id: str, file_id: str) -> list[int]:
        """The first chunk of a file and the first under each heading: ids, in order."""
        rows = self._database.query(
            "SELECT MIN(c.id) AS first FROM chunks c JOIN store_files sf ON sf.seq = c.store_file"
            " JOIN stores s ON s.id = sf.store_id"
            f" WHERE s.id = :store AND sf.file_id = :file AND {VISIBLE}"
            " GROUP BY c.heading ORDER BY first",
            {"owner": owner, "store": store_id, "file": file_id},
        )
        return [row["first"] for row in rows]

    # Marks

    def mark(self, key: str) -> None:
        """Remembers that something was done once, whatever becomes of it later."""
        with self._database.transaction() as execute:
            execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(self._database.now())))

    def marked(self, key: str) -> bool:
        return bool(self._database.query("SELECT 1 FROM meta WHERE key = ?", (key,)))

    # Reindexing: for whoever runs the process, over all owners

    def with_passages(self, stores: Sequence[str] | None) -> list[str]:
        """The ids of those stores, by id or name, that have passages; None for all that have.

        Raises StoreNotFound.
        """
        rows = self._database.query(
            "SELECT DISTINCT s.id, s.name FROM stores s JOIN store_files sf ON sf.store_id = s.id"
            " WHERE sf.embedder IS NOT NULL ORDER BY s.seq"
        )
        if stores is None:
            return [row[0] for row in rows]
        for named in stores:
            if not any(named in (row[0], row[1]) for row in rows):
                raise StoreNotFound(named)
        return [row[0] for row in rows if row[0] in stores or row[1] in stores]

    def embedded_otherwise(self, embedder: EmbeddedBy) -> list[tuple[int, EmbeddedBy]]:
        """Keys of the files in stores whose vectors another model made, and that model."""
        rows = self._database.query(
            "SELECT seq, embedder, dimension FROM store_files WHERE embedder IS NOT NULL"
            " AND (embedder != ? OR dimension != ?) ORDER BY seq",
            embedder,
        )
        return [(row[0], EmbeddedBy(row[1], row[2])) for row in rows]

    def document(self, store_file: int) -> Document | None:
        """What a file in a store was parsed to; None when it is gone."""
        rows = self._database.query("SELECT * FROM documents WHERE store_file = ?", (store_file,))
        if not rows:
            return None
        return msgspec.convert({**json.loads(rows[0]["layout"]), "text": rows[0]["text"]}, Document)

    def replace_passages(
        self, store_file: int, passages: Iterable[Passage], embedder: EmbeddedBy
    ) -> None:
        """Gives a file in a store new passages, whole; does nothing when it is gone."""
        with self._database.transaction() as execute:
            if execute("SELECT 1 FROM store_files WHERE seq = ?", (store_file,)).fetchone():
                execute("DELETE FROM chunks WHERE store_file = ?", (store_file,))
                insert_passages(execute, store_file, passages, embedder)


def insert_passages(
    execute: Execute, store_file: int, passages: Iterable[Passage], embedder: EmbeddedBy
) -> list[int]:
    """Writes the passages of a file in a store, in the caller's transaction, and counts them.

    Returns the chunk ids as `Written.added` has them.
    """
    added: list[int] = []
    count = size = 0
    for chunk, vectors in passages:
        row = execute(
            "INSERT INTO chunks (store_file, start, end, page, heading, text)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (store_file, chunk.start, chunk.end, chunk.page, chunk.heading, chunk.text),
        )
        assert row.lastrowid is not None
        for part, vector in enumerate(vectors):
            blob = np.ascontiguousarray(vector, np.float32).tobytes()
            execute("INSERT INTO embeddings VALUES (?, ?, ?)", (row.lastrowid, part, blob))
            added.append(row.lastrowid)
            size += len(blob)
        count += 1
        size += len(chunk.text.encode())
    execute(
        "UPDATE store_files SET chunk_count = ?, usage_bytes = ?, embedder = ?, dimension = ?"
        " WHERE seq = ?",
        (count, size, *embedder, store_file),
    )
    return added
