"""Files that come in parts."""

import sqlite3
from collections.abc import Sequence

from retrieval.blobs import Blobs, Incoming
from retrieval.database import Database, new_id, storable
from retrieval.errors import InvalidRequest, NotFound
from retrieval.files import Files
from retrieval.types import FileObject, UploadPart, UploadRecord

__all__ = ["Uploads"]

_OPEN_S = 3600  # from the creation of an upload to its end


class Uploads:
    """Rows of `uploads` and `upload_parts`. A part's content is kept as a file's is."""

    def __init__(self, database: Database, blobs: Blobs, files: Files) -> None:
        self._database = database
        self._blobs = blobs
        self._files = files

    def create(
        self,
        owner: str,
        filename: str,
        purpose: str,
        size: int,
        mime_type: str,
        file_expires_s: int | None = None,
    ) -> UploadRecord:
        """An upload of `size` bytes. `filename` is clean already."""
        now = self._database.now()
        with self._database.transaction() as execute:
            upload_id = new_id("upload_")
            execute(
                "INSERT INTO uploads (id, owner, purpose, filename, mime_type, bytes, status,"
                " created_at, expires_at, file_expires_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    upload_id,
                    owner,
                    purpose,
                    filename,
                    storable(mime_type),
                    size,
                    "pending",
                    now,
                    now + _OPEN_S,
                    file_expires_s,
                ),
            )
            return self.read(owner, upload_id)

    def read(self, owner: str, upload_id: str) -> UploadRecord:
        """Raises NotFound."""
        row = self._row(owner, upload_id)
        file: FileObject | None = None
        if row["file_id"] is not None:
            file = self._files.read(owner, row["file_id"])
        return UploadRecord(
            id=row["id"],
            purpose=row["purpose"],
            filename=row["filename"],
            mime_type=row["mime_type"],
            bytes=row["bytes"],
            status=row["status"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            file=file,
        )

    def room(self, owner: str, upload_id: str) -> int:
        """How many bytes are still to come. Raises NotFound, and InvalidRequest once it ended."""
        row = self._pending(owner, upload_id)
        (held,) = self._database.query(
            "SELECT TOTAL(bytes) AS bytes FROM upload_parts WHERE upload_id = ?", (upload_id,)
        )
        return row["bytes"] - int(held["bytes"])

    def add_part(self, owner: str, upload_id: str, content: Incoming) -> UploadPart:
        """Keeps a content that has been synced. Raises NotFound, InvalidRequest."""
        now = self._database.now()
        with self._database.transaction() as execute:
            if content.bytes > self.room(owner, upload_id):
                raise InvalidRequest("data", "the parts have more bytes than the upload was to get")
            self._blobs.adopt(content)
            part_id = new_id("part_")
            execute(
                "INSERT INTO upload_parts (id, upload_id, sha256, bytes, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (part_id, upload_id, content.sha256, content.bytes, now),
            )
        return UploadPart(id=part_id, upload_id=upload_id, created_at=now)

    def assemble(
        self, owner: str, upload_id: str, part_ids: Sequence[str], content: Incoming
    ) -> None:
        """Writes the parts into `content`, in that order.

        Raises NotFound, and InvalidRequest for parts that are not there, twice there, or do not
        add up.
        """
        row = self._pending(owner, upload_id)
        held = {
            part["id"]: part
            for part in self._database.query(
                "SELECT id, sha256, bytes FROM upload_parts WHERE upload_id = ?", (upload_id,)
            )
        }
        for place, part_id in enumerate(part_ids):
            if part_id not in held:
                raise InvalidRequest(f"part_ids[{place}]", f"the upload has no part '{part_id}'")
        if len(set(part_ids)) < len(part_ids):
            raise InvalidRequest("part_ids", "names a part twice")
        size = sum(held[part_id]["bytes"] for part_id in part_ids)
        if size != row["bytes"]:
            raise InvalidRequest(
                "part_ids", f"the parts have {size} bytes; the upload was to get {row['bytes']}"
            )
        try:
            for part_id in part_ids:
                content.append(self._blobs.path(held[part_id]["sha256"]))
        except FileNotFoundError:
            self._pending(owner, upload_id)  # says so, if it has ended meanwhile
            raise

    def complete(self, owner: str, upload_id: str, content: Incoming) -> UploadRecord:
        """Makes a file of what `assemble` wrote. Raises NotFound, InvalidRequest."""
        with self._database.exclusively():
            with self._database.transaction() as execute:
                row = self._pending(owner, upload_id)
                file = self._files.create(
                    owner, content, row["filename"], row["purpose"], row["file_expires_s"]
                )
                parts = self._end(upload_id, "completed")
                execute("UPDATE uploads SET file_id = ? WHERE id = ?", (file.id, upload_id))
            self._files.discard_unnamed(parts)
        return self.read(owner, upload_id)

    def cancel(self, owner: str, upload_id: str) -> UploadRecord:
        """Raises NotFound, and InvalidRequest for an upload that has ended."""
        with self._database.exclusively():
            with self._database.transaction():
                self._pending(owner, upload_id)
                parts = self._end(upload_id, "cancelled")
            self._files.discard_unnamed(parts)
        return self.read(owner, upload_id)

    def expire(self) -> None:
        """Ends the uploads whose time has come."""
        due = self._database.query(
            "SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= ?",
            (self._database.now(),),
        )
        for (upload_id,) in due:
            with self._database.exclusively():
                with self._database.transaction():
                    parts = self._end(upload_id, "expired")
                self._files.discard_unnamed(parts)

    def _row(self, owner: str, upload_id: str) -> sqlite3.Row:
        rows = self._database.query(
            "SELECT * FROM uploads WHERE id = ? AND owner = ?", (storable(upload_id), owner)
        )
        if not rows:
            raise NotFound("upload", upload_id)
        return rows[0]

    def _pending(self, owner: str, upload_id: str) -> sqlite3.Row:
        row = self._row(owner, upload_id)
        if row["status"] != "pending":
            raise InvalidRequest("upload_id", f"the upload is {row['status']} already")
        return row

    def _end(self, upload_id: str, status: str) -> list[str]:
        """In the caller's transaction; returns the contents of the parts that were."""
        with self._database.transaction() as execute:
            parts = [
                row[0]
                for row in execute(
                    "SELECT sha256 FROM upload_parts WHERE upload_id = ?", (upload_id,)
                )
            ]
            execute("DELETE FROM upload_parts WHERE upload_id = ?", (upload_id,))
            execute("UPDATE uploads SET status = ? WHERE id = ?", (status, upload_id))
            return parts
