# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""What happens to a file in a store, in the transaction of whoever calls; and how it is read."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from retrieval.database import Execute, storable, unstorable
from retrieval.errors import InvalidRequest
from retrieval.filters import Attribute, kind_of
from retrieval.parse import Document
from retrieval.store import EmbeddedBy, Passage, Written, insert_passages
from retrieval.types import Chunking, ErrorCode, FileRecord, FileStatus

__all__ = [
    "DERIVED",
    "SELECT",
    "WITHOUT_PASSAGES",
    "check_attributes",
    "chunk_ids",
    "chunking_of",
    "end_without_passages",
    "file_record",
    "take_incomplete",
    "write_attributes",
    "write_passages",
]

_MOST_ATTRIBUTES = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512

SELECT = """SELECT sf.*, f.filename, f.sha256, f.bytes
    FROM store_files sf JOIN files f ON f.id = sf.file_id"""


# Tables of what can be made again from the contents of files.
DERIVED = frozenset(("documents", "chunks", "embeddings"))
# Completed, and without all its passages, or with one that has no vector.
WITHOUT_PASSAGES = """SELECT sf.seq FROM store_files sf WHERE sf.status = 'completed' AND (
    sf.chunk_count = 0
    OR sf.chunk_count != (SELECT COUNT(*) FROM chunks c WHERE c.store_file = sf.seq)
    OR EXISTS (SELECT 1 FROM chunks c WHERE c.store_file = sf.seq AND NOT EXISTS (
        SELECT 1 FROM embeddings e
        WHERE e.chunk_id = c.id AND length(e.vector) = 4 * sf.dimension)))"""


def take_incomplete(execute: Execute) -> int:
    """Has files wait anew that are completed and lack passages or vectors; returns how many.

    Passages and vectors of rows that are not there are removed.
    """
    for table, row, *_ in execute("PRAGMA foreign_key_check").fetchall():
        if table in DERIVED:
            execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
    return execute(
        "UPDATE store_files SET status = 'in_progress', revision = revision + 1"
        f" WHERE seq IN ({WITHOUT_PASSAGES})"
    ).rowcount


def write_passages(
    execute: Execute,
    seq: int,
    document: Document,
    passages: Sequence[Passage],
    embedder: EmbeddedBy,
) -> Written:
    """Completes a file in a store, with these passages in place of those that are there."""
    removed = chunk_ids(execute, seq)
    execute("DELETE FROM chunks WHERE store_file = ?", (seq,))
    layout = msgspec.to_builtins(document)
    text = layout.pop("text")
    execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (seq, json.dumps(layout), text))
    added = insert_passages(execute, seq, passages, embedder)
    execute("UPDATE store_files SET status = 'completed' WHERE seq = ?", (seq,))
    return Written(removed, added)


def end_without_passages(
    execute: Execute,
    seq: int,
    status: FileStatus,
    code: ErrorCode | None = None,
    message: str | None = None,
) -> list[int]:
    """Ends the wait of a file in a store; returns the passages that it had before."""
    removed = chunk_ids(execute, seq)
    execute("DELETE FROM chunks WHERE store_file = ?", (seq,))
    execute("DELETE FROM documents WHERE store_file = ?", (seq,))
    execute(
        "UPDATE store_files SET status = ?, error_code = ?, error_message = ?, chunk_count = 0,"
        " usage_bytes = 0, embedder = NULL, dimension = NULL WHERE seq = ?",
        (status, code, message and storable(message), seq),
    )
    return removed


def check_attributes(attributes: Mapping[str, Attribute]) -> None:
    """Raises InvalidRequest for "attributes": their number, lengths, and what is no text."""
    if len(attributes) > _MOST_ATTRIBUTES:
        raise InvalidRequest(
            "attributes", f"has {len(attributes)} keys; at most {_MOST_ATTRIBUTES} are taken"
        )
    for key, value in attributes.items():
        unstorable("attributes", key)
        if not 1 <= len(key) <= _LONGEST_KEY:
            raise InvalidRequest("attributes", f"a key must have 1 to {_LONGEST_KEY} characters")
        if isinstance(value, str):
            unstorable(f"attributes.{key}", value)
            if len(value) > _LONGEST_VALUE:
                raise InvalidRequest(
                    f"attributes.{key}", f"must have at most {_LONGEST_VALUE} characters"
                )
        elif abs(value) >= 2**63 and isinstance(value, int):
            raise InvalidRequest(f"attributes.{key}", "must fit 64 bits")


def write_attributes(
    execute: Execute, seq: int, filename: str, attributes: Mapping[str, Attribute]
) -> None:
    """Replaces the attributes of a file in a store, and what it is cited by with them."""
    named = attributes.get("ref_id")
    execute(
        "UPDATE store_files SET attributes = ?, document_id = ? WHERE seq = ?",
        (
            json.dumps(dict(attributes)),
            PurePosixPath(filename).stem if named is None else str(named),
            seq,
        ),
    )
    execute("DELETE FROM file_attributes WHERE store_file = ?", (seq,))
    for key, value in attributes.items():
        execute(
            "INSERT INTO file_attributes VALUES (?, ?, ?, ?)", (seq, key, kind_of(value), value)
        )


def chunk_ids(execute: Execute, seq: int) -> list[int]:
    """The passages of a file in a store."""
    return [row[0] for row in execute("SELECT id FROM chunks WHERE store_file = ?", (seq,))]


def chunking_of(row: sqlite3.Row) -> Chunking | None:
    """How a file in a store is to be cut."""
    if row["chunk_tokens"] is None:
        return None
    return Chunking(chunk_tokens=row["chunk_tokens"], overlap_tokens=row["overlap_tokens"])


def file_record(row: sqlite3.Row) -> FileRecord:
    """A row of `SELECT`."""
    attributes: dict[str, Any] = json.loads(row["attributes"])
    return FileRecord(
        id=row["file_id"],
        store_id=row["store_id"],
        filename=row["filename"],
        document_id=row["document_id"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        status=row["status"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        attributes=attributes,
        chunking=chunking_of(row),
        chunk_count=row["chunk_count"],
        usage_bytes=row["usage_bytes"],
        created_at=row["created_at"],
    )
