"""Files as objects of their owner, and uploads of one in parts."""

import sqlite3
from collections.abc import Iterable

from retrieval.blobs import Blobs, Incoming
from retrieval.database import Database, new_id, storable
from retrieval.errors import NotFound
from retrieval.paging import read_page
from retrieval.types import Cursor, FileObject, Page

__all__ = ["Files", "file_object"]


class Files:
    """Rows of `files` and their contents on disk. No row is without its content."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def create(
        self,
        owner: str,
        content: Incoming,
        filename: str,
        purpose: str,
        expires_s: int | None = None,
    ) -> FileObject:
        """Keeps a content that has been synced. `filename` is clean already."""
        now = self._database.now()
        with self._database.transaction() as execute:
            self._blobs.adopt(content)
            file_id = new_id("file-")
            execute(
                "INSERT INTO files (id, owner, purpose, filename, sha256, bytes, created_at,"
                " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    file_id,
                    owner,
                    purpose,
                    filename,
                    content.sha256,
                    content.bytes,
                    now,
                    None if expires_s is None else now + expires_s,
                ),
            )
            return self.read(owner, file_id)

    def read(self, owner: str, file_id: str) -> FileObject:
        """Raises NotFound."""
        rows = self._database.query(
            "SELECT * FROM files WHERE id = ? AND owner = ?", (storable(file_id), owner)
        )
        if not rows:
            raise NotFound("file", file_id)
        return file_object(rows[0])

    def page(self, owner: str, cursor: Cursor, purpose: str | None = None) -> Page[FileObject]:
        """The owner's files. Raises InvalidRequest."""
        test = "f.owner = :owner" + ("" if purpose is None else " AND f.purpose = :purpose")
        found = read_page(
            self._database,
            f"SELECT f.* FROM files f WHERE {test}",  # noqa: S608 - made of the line above
            {"owner": owner, "purpose": purpose},
            cursor,
            seq="f.seq",
            name="f.id",
            kind="file",
            scope=owner,
        )
        return Page(items=[file_object(row) for row in found.items], has_more=found.has_more)

    def delete(self, owner: str, file_id: str) -> None:
        """Removes the file, wherever it is, and its content if no other has the same.

        Raises NotFound. Its passages go with it, and no index is told: take it out of its stores
        before.
        """
        with self._database.exclusively():
            with self._database.transaction() as execute:
                file = self.read(owner, file_id)
                (seq,) = execute("SELECT seq FROM files WHERE id = ?", (file_id,)).fetchone()
                execute("DELETE FROM files WHERE id = ?", (file_id,))
                self._database.depart("file", owner, file_id, seq)
            self.discard_unnamed([file.sha256])

    def due(self) -> list[tuple[str, str]]:
        """(owner, file id) of the files whose time has come."""
        rows = self._database.query(
            "SELECT owner, id FROM files WHERE expires_at <= ?", (self._database.now(),)
        )
        return [(row[0], row[1]) for row in rows]

    def discard_unnamed(self, contents: Iterable[str]) -> None:
        """Removes those of these contents that no row names any more; after the commit."""
        with self._database.exclusively():
            for sha256 in contents:
                if not self._database.query(
                    "SELECT 1 FROM files WHERE sha256 = :it UNION ALL"
                    " SELECT 1 FROM upload_parts WHERE sha256 = :it",
                    {"it": sha256},
                ):
                    self._blobs.discard(sha256)

    def sweep(self) -> None:
        """Removes contents that a killed process left without a row. Nobody may write yet."""
        rows = self._database.query(
            "SELECT sha256 FROM files UNION SELECT sha256 FROM upload_parts"
        )
        self._blobs.sweep(row[0] for row in rows)


def file_object(row: sqlite3.Row) -> FileObject:
    """A row of `files`."""
    return FileObject(
        id=row["id"],
        purpose=row["purpose"],
        filename=row["filename"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
