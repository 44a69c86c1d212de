# ruff: noqa: S608 - the SQL is put together from the constants of this package, never from values
"""Vector stores as objects: made, changed, listed, active, expired."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType

from retrieval.database import Database, new_id, storable, unstorable
from retrieval.errors import InvalidRequest, StoreExpired, StoreNotFound, StoreReadOnly
from retrieval.paging import read_page
from retrieval.store import VISIBLE
from retrieval.types import Cursor, FileCounts, Page, StoreRecord

__all__ = ["COUNTS", "StoreChange", "VectorStores"]

_LONGEST_NAME = 256
_DAY_S = 86_400
_SHOWN_EXPIRED_S = 30 * _DAY_S
_ACTIVE_S = 60  # how far `last_active_at` may lag: a search is not to wait for the disk each time

# One pass over the files of whatever `sf` is restricted to, as a JSON array.
COUNTS = """json_array(
    TOTAL(sf.status = 'in_progress'), TOTAL(sf.status = 'completed'), TOTAL(sf.status = 'failed'),
    TOTAL(sf.status = 'cancelled'), TOTAL(sf.chunk_count), TOTAL(sf.usage_bytes))"""

_COLUMNS = f"""s.*,
    (SELECT json_group_array(reader) FROM readers r WHERE r.store_id = s.id) AS readers,
    (SELECT {COUNTS} FROM store_files sf WHERE sf.store_id = s.id) AS counts"""

# An own store stays to be looked at once it has expired.
_LISTED = f"(s.owner = :owner OR {VISIBLE})"


class StoreChange(Struct, frozen=True, kw_only=True):
    """What is to become of a store; what is unset stays, or is left out of a new one."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    metadata: Mapping[str, str] | UnsetType = UNSET
    expires_days: int | UnsetType | None = UNSET
    quota_bytes: int | UnsetType | None = UNSET


class VectorStores:
    """Rows of `stores`. Who may see one may read it; only its owner may change it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str, change: StoreChange) -> StoreRecord:
        """A new store; several may have one name."""
        now = self._database.now()
        with self._database.transaction() as execute:
            store_id = new_id("vs_")
            execute(
                "INSERT INTO stores (id, owner, name, metadata, created_at, last_active_at)"
                " VALUES (?, ?, '', '{}', ?, ?)",
                (store_id, owner, now, now),
            )
            self._apply(store_id, change)
        return self.read(owner, store_id)

    def update(self, owner: str, store_id: str, change: StoreChange) -> StoreRecord:
        """Raises StoreNotFound; StoreReadOnly where the owner may only search."""
        with self._database.transaction():
            self.check_owned(owner, store_id)
            self._apply(store_id, change)
        return self.read(owner, store_id)

    def ensure(self, owner: str, name: str, readers: Sequence[str] | None = None) -> StoreRecord:
        """The owner's oldest store of that name, made if missing; `readers` replace its own.

        Raises InvalidRequest for a name that is empty or too long.
        """
        _check_names(owner, name)
        with self._database.transaction() as execute:
            row = execute(
                "SELECT id FROM stores WHERE owner = ? AND name = ? AND expired = 0"
                " ORDER BY seq LIMIT 1",
                (owner, name),
            ).fetchone()
            store_id = row[0] if row else self.create(owner, StoreChange(name=name)).id
            if readers is not None:
                execute("DELETE FROM readers WHERE store_id = ?", (store_id,))
                for reader in sorted(set(readers)):
                    execute("INSERT INTO readers VALUES (?, ?)", (store_id, reader))
        return self.read(owner, store_id)

    def all(self, owner: str) -> list[StoreRecord]:
        """What the owner may search, own stores first, then by age."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM stores s WHERE {VISIBLE} ORDER BY s.owner != :owner, s.seq",
            {"owner": owner},
        )
        return [_record(row) for row in rows]

    def page(self, owner: str, cursor: Cursor) -> Page[StoreRecord]:
        """The owner's stores, expired ones too, and those it may search besides."""
        found = read_page(
            self._database,
            f"SELECT {_COLUMNS} FROM stores s WHERE {_LISTED}",
            {"owner": owner},
            cursor,
            seq="s.seq",
            name="s.id",
            kind="store",
            scope=owner,
        )
        return Page(items=[_record(row) for row in found.items], has_more=found.has_more)

    def read(self, owner: str, store_id: str) -> StoreRecord:
        """A store that the owner may list. Raises StoreNotFound."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM stores s WHERE s.id = :store AND {_LISTED}",
            {"owner": owner, "store": storable(store_id)},
        )
        if not rows:
            raise StoreNotFound(store_id)
        return _record(rows[0])

    def check_readable(self, owner: str, store_id: str) -> None:
        """Raises StoreNotFound for a store that the owner may not list."""
        self._access(owner, store_id)

    def check_owned(self, owner: str, store_id: str) -> None:
        """Raises StoreNotFound, and StoreReadOnly where the owner may only search."""
        if self._access(owner, store_id)["owner"] != owner:
            raise StoreReadOnly(store_id)

    def quota(self, owner: str, store_id: str) -> int | None:
        """Of an own store that files can be put into, in bytes.

        Raises StoreNotFound, StoreExpired and StoreReadOnly.
        """
        self.check_owned(owner, store_id)
        row = self._access(owner, store_id)
        if row["expired"]:
            raise StoreExpired(store_id)
        return row["quota_bytes"]

    def delete(self, owner: str, store_id: str) -> None:
        """Removes the store and its passages; its files stay with their owner.

        Raises StoreNotFound, StoreReadOnly.
        """
        with self._database.transaction() as execute:
            self.check_owned(owner, store_id)
            (seq,) = execute("SELECT seq FROM stores WHERE id = ?", (store_id,)).fetchone()
            execute("DELETE FROM stores WHERE id = ?", (store_id,))
            self._database.depart("store", owner, store_id, seq)

    def touch(self, store_ids: Iterable[str]) -> None:
        """Says that the stores are in use, which puts off their end."""
        now = self._database.now()
        marks = [
            (row[0],)
            for store_id in store_ids
            for row in self._database.query(
                "SELECT id FROM stores WHERE id = ? AND last_active_at < ?",
                (store_id, now - _ACTIVE_S),
            )
        ]
        if marks:
            with self._database.transaction() as execute:
                for (store_id,) in marks:
                    execute(
                        "UPDATE stores SET last_active_at = ?,"
                        " expires_at = ? + expires_days * ? WHERE id = ? AND expired = 0",
                        (now, now, _DAY_S, store_id),
                    )

    def due(self) -> list[str]:
        """Ids of stores whose time has come."""
        rows = self._database.query(
            "SELECT id FROM stores WHERE expires_at <= ? AND expired = 0", (self._database.now(),)
        )
        return [row[0] for row in rows]

    def forget_expired(self) -> None:
        """Removes the rows of stores that expired long ago."""
        limit = self._database.now() - _SHOWN_EXPIRED_S
        test = "FROM stores WHERE expired = 1 AND expires_at < ?"
        if self._database.query(f"SELECT 1 {test}", (limit,)):
            with self._database.transaction() as execute:
                execute(f"DELETE {test}", (limit,))

    def expire(self, store_id: str) -> None:
        """Takes all out of the store. Its row stays, so that its owner learns what became of it."""
        with self._database.transaction() as execute:
            execute("UPDATE stores SET expired = 1 WHERE id = ?", (store_id,))
            execute("DELETE FROM store_files WHERE store_id = ?", (store_id,))
            execute("DELETE FROM batches WHERE store_id = ?", (store_id,))

    def _access(self, owner: str, store_id: str) -> sqlite3.Row:
        rows = self._database.query(
            f"SELECT s.owner, s.expired, s.quota_bytes FROM stores s WHERE s.id = :store"
            f" AND {_LISTED}",
            {"owner": owner, "store": storable(store_id)},
        )
        if not rows:
            raise StoreNotFound(store_id)
        return rows[0]

    def _apply(self, store_id: str, change: StoreChange) -> None:
        with self._database.transaction() as execute:

            def write(column: str, value: object) -> None:
                execute(f"UPDATE stores SET {column} = ? WHERE id = ?", (value, store_id))

            if change.name is not UNSET:
                unstorable("name", change.name)
                write("name", change.name)
            if change.description is not UNSET:
                unstorable("description", change.description or "")
                write("description", change.description)
            if change.metadata is not UNSET:
                for key, value in change.metadata.items():
                    unstorable("metadata", key, value)
                write("metadata", json.dumps(dict(change.metadata)))
            if change.quota_bytes is not UNSET:
                write("quota_bytes", change.quota_bytes)
            if change.expires_days is not UNSET:
                write("expires_days", change.expires_days)
                days = change.expires_days
                now = self._database.now()
                write("expires_at", None if days is None else now + days * _DAY_S)
                write("last_active_at", now)


def _check_names(owner: str, name: str) -> None:
    for param, value in (("owner", owner), ("name", name)):
        if not value.strip() or len(value) > _LONGEST_NAME or storable(value) != value:
            raise InvalidRequest(param, f"must be 1 to {_LONGEST_NAME} characters of text")


def _record(row: sqlite3.Row) -> StoreRecord:
    counts = [int(count) for count in json.loads(row["counts"])]
    return StoreRecord(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        description=row["description"],
        metadata=json.loads(row["metadata"]),
        readers=tuple(sorted(json.loads(row["readers"]))),
        created_at=row["created_at"],
        last_active_at=row["last_active_at"],
        expires_days=row["expires_days"],
        expires_at=row["expires_at"],
        expired=bool(row["expired"]),
        quota_bytes=row["quota_bytes"],
        counts=FileCounts(
            in_progress=counts[0], completed=counts[1], failed=counts[2], cancelled=counts[3]
        ),
        chunk_count=counts[4],
        usage_bytes=counts[5],
    )
