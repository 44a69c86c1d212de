# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""Whether a data directory is sound, and the repair of what is derived.

For whoever runs the machine: over all owners. What changes something takes the directory's lock, so
that no gateway has it open; looking does without where one has.
"""

import hashlib
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from retrieval.blobs import Blobs
from retrieval.database import Database
from retrieval.errors import RetrievalError, StoreLocked
from retrieval.index_source import IndexSource
from retrieval.indexes import Indexes, damage
from retrieval.library import CONTENTS, DATABASE, INDEXES
from retrieval.lock import DirectoryLock
from retrieval.renewal import Renewal
from retrieval.store import EmbeddedBy, Store
from retrieval.store_file_rows import DERIVED, WITHOUT_PASSAGES, take_incomplete

__all__ = ["Problem", "embedders", "examine", "rebuild", "repair"]

_BLOCK = 1 << 20


class Problem(Struct, frozen=True, kw_only=True):
    """Something that is not as it should be. `cure` is what `repair` does, None for nothing.

    `store` is the id of the store whose index it is that is to be built anew.
    """

    what: str
    cure: str | None = None
    store: str | None = None


def examine(path: Path) -> list[Problem]:
    """All that is wrong with the documents in the directory `path`. Changes nothing.

    Also while a gateway runs. Raises RetrievalError where there is no database, or none that can be
    opened.
    """
    try:
        with _opened(path) as database:
            return _problems(database, path)
    except StoreLocked:
        with _database(path) as database:
            found = _problems(database, path)
            # What the gateway changed while it was looked at is not wrong the second time.
            again = {problem.what for problem in _problems(database, path)} if found else set[str]()
            return [problem for problem in found if problem.what in again]


def repair(path: Path) -> None:
    """Builds damaged indexes anew, and has files without passages ingested again.

    What is derived of rows that are not there is removed.

    Raises as `examine`, and StoreLocked.
    """
    with _opened(path) as database:
        with database.transaction() as execute:
            take_incomplete(execute)
        embedder = _embedder(database)
        if embedder is not None:
            source = IndexSource(path / DATABASE)
            damaged = [
                store_id
                for store_id in source.stores()
                if damage(path / INDEXES / store_id, source, store_id, embedder)
            ]
            source.close()
            _rebuild(path, damaged, embedder)


def embedders(path: Path) -> set[str]:
    """The identities of the models that made vectors. Raises as `examine`, and StoreLocked."""
    with _opened(path) as database:
        rows = database.query("SELECT DISTINCT embedder FROM store_files")
        return {row[0] for row in rows if row[0] is not None}


def rebuild(path: Path, stores: Sequence[str] | None = None) -> int:
    """Builds the indexes of these stores, by id or name, anew, or of all; returns how many.

    Raises as `examine`, StoreLocked, StoreNotFound, and RetrievalError where files have vectors of
    several models.
    """
    with _opened(path) as database:
        store_ids = Store(database).with_passages(stores)
        embedder = _embedder(database)
        if store_ids and embedder is None:
            raise RetrievalError("The files have vectors of several models; re-embed them first.")
        if embedder is not None:
            _rebuild(path, store_ids, embedder)
        return len(store_ids)


def _rebuild(path: Path, store_ids: list[str], embedder: EmbeddedBy) -> None:
    indexes = Indexes(path / INDEXES, IndexSource(path / DATABASE), lambda: embedder)
    renewal = Renewal(indexes, store_ids)
    try:
        while renewal.next():
            pass
    finally:
        renewal.close()
        indexes.close()


@contextmanager
def _opened(path: Path) -> Generator[Database]:
    if not (path / DATABASE).is_file():
        raise RetrievalError(f"{path} holds no documents: there is no {DATABASE}.")
    lock = DirectoryLock(path)
    try:
        with _database(path) as database:
            yield database
    finally:
        lock.release()


@contextmanager
def _database(path: Path) -> Generator[Database]:
    database = Database(path / DATABASE)
    try:
        yield database
    except sqlite3.DatabaseError as error:
        raise RetrievalError(
            f"{path} cannot be read: {error}. Where it is damaged, take it from a backup."
        ) from error
    finally:
        database.close()


def _problems(database: Database, path: Path) -> list[Problem]:
    found = _broken_database(database)
    if found:
        return found  # nothing else that is read can be relied on
    return [
        *_orphans(database),
        *_without_passages(database),
        *_wrong_contents(database, Blobs(path / CONTENTS)),
        *_damaged_indexes(database, path),
    ]


def _broken_database(database: Database) -> list[Problem]:
    said = [row[0] for row in database.query("PRAGMA integrity_check") if row[0] != "ok"]
    return [Problem(what=f"database: {one}") for one in said]


def _orphans(database: Database) -> list[Problem]:
    return [
        Problem(
            what=f"database: row {row} of {table} belongs to a row of {parent} that is not there",
            cure="it is removed" if table in DERIVED else None,
        )
        for table, row, parent, _ in database.query("PRAGMA foreign_key_check")
    ]


def _without_passages(database: Database) -> list[Problem]:
    rows = database.query(
        "SELECT sf.store_id, f.id, f.filename"
        " FROM store_files sf JOIN files f ON f.id = sf.file_id"
        f" WHERE sf.seq IN ({WITHOUT_PASSAGES})"
    )
    return [
        Problem(
            what=f"store {row[0]}: {row[2]} ({row[1]}) is completed but lacks passages or vectors",
            cure="it is ingested again when the gateway runs",
        )
        for row in rows
    ]


def _wrong_contents(database: Database, blobs: Blobs) -> list[Problem]:
    found: list[Problem] = []
    for sha256, names in database.query(
        "SELECT sha256, group_concat(filename || ' (' || id || ')', ', ') FROM files"
        " GROUP BY sha256"
    ):
        problem = _content_problem(blobs.path(sha256), sha256)
        if problem:
            found.append(Problem(what=f"content of {names}: {problem}; upload it again"))
    return found


def _content_problem(path: Path, sha256: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None if digest.hexdigest() == sha256 else f"{path} is not what was uploaded"


def _damaged_indexes(database: Database, path: Path) -> list[Problem]:
    source = IndexSource(path / DATABASE)
    try:
        embedder = _embedder(database)
        if embedder is None:
            return []
        return [
            Problem(
                what=f"index of store {store_id}: {problem}",
                cure="it is built anew",
                store=store_id,
            )
            for store_id in source.stores()
            for problem in damage(path / INDEXES / store_id, source, store_id, embedder)
        ]
    finally:
        source.close()


def _embedder(database: Database) -> EmbeddedBy | None:
    """Whose vectors the files have; None for nobody's, or several models'."""
    rows = database.query(
        "SELECT DISTINCT embedder, dimension FROM store_files WHERE embedder IS NOT NULL"
    )
    return EmbeddedBy(*rows[0]) if len(rows) == 1 else None
