"""The database's tables, as a list of migrations; `user_version` counts those applied."""

import sqlite3
from collections.abc import Sequence

from retrieval.errors import RetrievalError

__all__ = ["apply", "migrate"]

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

# Files became objects of their owner, apart from the stores that they are put into. `seq` is the
# order of creation, which lists are paged by. `store_files.embedder` and `dimension` say whose
# vectors a file has there, so that a re-embedding can go file by file and be resumed; a file that
# is `in_progress` is the queue of what waits to be ingested. Chunk ids are never used again
# (AUTOINCREMENT): a derived index that still knows a deleted one can at worst name something that
# is gone. A chunk longer than the embedder reads has several vectors, its parts.
_SECOND = """
DROP INDEX chunks_by_file;
ALTER TABLE stores RENAME TO old_stores;
ALTER TABLE readers RENAME TO old_readers;
ALTER TABLE files RENAME TO old_files;
ALTER TABLE documents RENAME TO old_documents;
ALTER TABLE chunks RENAME TO old_chunks;
ALTER TABLE embeddings RENAME TO old_embeddings;

CREATE TABLE stores (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_days INTEGER,
    expires_at INTEGER,
    expired INTEGER NOT NULL DEFAULT 0,
    quota_bytes INTEGER
) STRICT;
CREATE INDEX stores_by_owner ON stores (owner, name);
CREATE INDEX stores_by_expiry ON stores (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE readers (
    store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    reader TEXT NOT NULL,
    PRIMARY KEY (store_id, reader)
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE INDEX files_by_owner ON files (owner);
CREATE INDEX files_by_content ON files (sha256);
CREATE INDEX files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batches_by_store ON batches (store_id);

CREATE TABLE store_files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    store_id TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    file_id TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    batch_id TEXT REFERENCES batches (id) ON DELETE SET NULL,
    status TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'failed', 'cancelled')),
    error_code TEXT,
    error_message TEXT,
    document_id TEXT NOT NULL,
    attributes TEXT NOT NULL,
    chunk_tokens INTEGER,
    overlap_tokens INTEGER,
    revision INTEGER NOT NULL DEFAULT 1,
    chunk_count INTEGER NOT NULL DEFAULT 0,
    usage_bytes INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    embedder TEXT,
    dimension INTEGER,
    UNIQUE (store_id, file_id)
) STRICT;
CREATE INDEX store_files_by_file ON store_files (file_id);
CREATE INDEX store_files_by_batch ON store_files (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX store_files_waiting ON store_files (seq) WHERE status = 'in_progress';

CREATE TABLE file_attributes (
    store_file INTEGER NOT NULL REFERENCES store_files (seq) ON DELETE CASCADE,
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('string', 'number', 'boolean')),
    value ANY NOT NULL,
    PRIMARY KEY (store_file, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    store_file INTEGER PRIMARY KEY REFERENCES store_files (seq) ON DELETE CASCADE,
    layout TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    store_file INTEGER NOT NULL REFERENCES store_files (seq) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    page INTEGER,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX chunks_by_file ON chunks (store_file);

CREATE TABLE embeddings (
    chunk_id INTEGER NOT NULL REFERENCES chunks (id) ON DELETE CASCADE,
    part INTEGER NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (chunk_id, part)
) STRICT;

CREATE TABLE uploads (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    file_expires_s INTEGER,
    file_id TEXT REFERENCES files (id) ON DELETE SET NULL
) STRICT;
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';
CREATE INDEX uploads_by_file ON uploads (file_id) WHERE file_id IS NOT NULL;

CREATE TABLE upload_parts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX upload_parts_by_upload ON upload_parts (upload_id);
CREATE INDEX upload_parts_by_content ON upload_parts (sha256);

INSERT INTO stores (id, owner, name, metadata, created_at, last_active_at)
    SELECT id, owner, name, '{}', created_at, created_at FROM old_stores ORDER BY created_at, id;
INSERT INTO readers SELECT store_id, reader FROM old_readers;
INSERT INTO files (id, owner, purpose, filename, sha256, bytes, created_at)
    SELECT f.id, s.owner, 'assistants', f.filename, f.sha256, f.bytes, f.created_at
    FROM old_files f JOIN old_stores s ON s.id = f.store_id ORDER BY f.created_at, f.id;
INSERT INTO store_files (store_id, file_id, status, document_id, attributes, chunk_count,
                         usage_bytes, created_at, embedder, dimension)
    SELECT f.store_id, f.id, 'completed', f.document_id, '{}',
        (SELECT COUNT(*) FROM old_chunks c WHERE c.file_id = f.id),
        (SELECT COALESCE(SUM(length(CAST(c.text AS BLOB)) + length(e.vector)), 0)
         FROM old_chunks c JOIN old_embeddings e ON e.chunk_id = c.id WHERE c.file_id = f.id),
        f.created_at, f.embedder, f.dimension
    FROM old_files f ORDER BY f.created_at, f.id;
INSERT INTO documents
    SELECT sf.seq, json_object('markup', d.markup, 'page_starts', json(d.page_starts)), d.text
    FROM old_documents d JOIN store_files sf ON sf.file_id = d.file_id;
INSERT INTO chunks
    SELECT c.id, sf.seq, c.start, c.end, c.page, c.heading, c.text
    FROM old_chunks c JOIN store_files sf ON sf.file_id = c.file_id ORDER BY c.id;
INSERT INTO embeddings SELECT chunk_id, 0, vector FROM old_embeddings ORDER BY chunk_id;
UPDATE sqlite_sequence
    SET seq = (SELECT MAX(seq) FROM sqlite_sequence WHERE name IN ('chunks', 'old_chunks'))
    WHERE name = 'chunks';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'chunks', seq FROM sqlite_sequence WHERE name = 'old_chunks'
    AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'chunks');

DROP TABLE old_embeddings;
DROP TABLE old_chunks;
DROP TABLE old_documents;
DROP TABLE old_files;
DROP TABLE old_readers;
DROP TABLE old_stores;
"""

_MIGRATIONS = (_FIRST, _SECOND)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the tables of documents to this version; see `apply`."""
    apply(connection, _MIGRATIONS, "document database")


def apply(connection: sqlite3.Connection, scripts: Sequence[str], what: str) -> None:
    """Runs the scripts that were not run yet, each in one transaction; foreign keys must be off.

    Raises RetrievalError for a database that a newer version wrote; `what` is its name there.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise RetrievalError(
            f"The {what} is of version {version}, written by a newer Jurat; "
            f"this one reads up to version {len(scripts)}. Upgrade it."
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
