"""The database's tables, as a list of migrations; `user_version` counts those applied."""

import sqlite3

from retrieval.errors import RetrievalError

__all__ = ["migrate"]

# `files.embedder` and `files.dimension` say whose vectors a file has, so that a re-embedding can
# go file by file and be resumed. Chunk ids are never used again (AUTOINCREMENT): a derived index
# that still knows a deleted one can at worst name something that is gone.
_FIRST = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stores (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT;

CREATE TABLE readers (
    store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    reader TEXT NOT NULL,
    PRIMARY KEY (store_id, reader)
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
    id TEXT PRIMARY KEY,
    store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    filename TEXT NOT NULL,
    document_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    embedder TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    UNIQUE (store_id, filename)
) STRICT;

CREATE TABLE documents (
    file_id TEXT PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    markup TEXT NOT NULL,
    page_starts TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    page INTEGER,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX chunks_by_file ON chunks (file_id);

CREATE TABLE embeddings (
    chunk_id INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
    vector BLOB NOT NULL
) STRICT;
"""

_MIGRATIONS = (_FIRST,)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the tables to this version, each step in one transaction.

    Raises RetrievalError for a database that a newer version wrote.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise RetrievalError(
            f"The document database is of version {version}, written by a newer Jurat; "
            f"this one reads up to version {len(_MIGRATIONS)}. Upgrade it."
        )
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
