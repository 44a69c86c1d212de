"""The tables of responses and conversations, as a list of migrations."""

import sqlite3

from retrieval.schema import apply

__all__ = ["migrate"]

# `seq` is the order of creation, which lists are paged by. An item belongs to a response, to a
# conversation, or to both: it stays while one of them does. `previous` may name a response that is
# gone. `used_at` is when somebody last went on from there; what nobody uses expires.
_FIRST = """
CREATE TABLE conversations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_by_owner ON conversations (owner, used_at);
CREATE INDEX conversations_by_use ON conversations (used_at);

CREATE TABLE responses (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    previous TEXT,
    conversation TEXT,
    body BLOB NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX responses_by_owner ON responses (owner, used_at);
CREATE INDEX responses_by_use ON responses (used_at);
CREATE INDEX responses_unfinished ON responses (id) WHERE status = 'in_progress';

CREATE TABLE items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    response_id TEXT REFERENCES responses (id) ON DELETE SET NULL,
    conversation_id TEXT REFERENCES conversations (id) ON DELETE SET NULL,
    part TEXT NOT NULL CHECK (part IN ('input', 'output')),
    body BLOB NOT NULL
) STRICT;
CREATE INDEX items_by_id ON items (owner, id);
CREATE INDEX items_by_response ON items (response_id);
CREATE UNIQUE INDEX items_by_conversation ON items (conversation_id, id)
    WHERE conversation_id IS NOT NULL;
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the tables to this version. Raises RetrievalError for those of a newer one."""
    apply(connection, (_FIRST,), "database of responses")
