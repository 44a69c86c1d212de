"""One SQLite database, with one writer and one reader that do not wait for each other."""

import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import DiskFull, InvalidRequest, RetrievalError
from retrieval.schema import migrate

__all__ = ["Database", "Execute", "new_id", "storable", "unstorable"]

_BUSY_MS = 10_000
_REMEMBERED = 10_000  # places of deleted rows

Execute = Callable[..., sqlite3.Cursor]
Parameters = Sequence[object] | Mapping[str, object]


class Database:
    """Opens or creates the database at `path`; raises RetrievalError when it is not one.

    Synchronous: calls may wait for the disk and for each other, so callers on an event loop use a
    thread. `clock` gives Unix seconds. `prepare` brings the tables to this version: those of
    documents, unless another is given.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        prepare: Callable[[sqlite3.Connection], None] = migrate,
    ) -> None:
        self._clock = clock
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._writing: int | None = None  # the thread whose transaction is open
        self._departed: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._writer.row_factory = sqlite3.Row
        try:
            self._writer.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._writer.execute("PRAGMA journal_mode = WAL")
            # What was reported done survives a power cut, too.
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA foreign_keys = OFF")
            prepare(self._writer)
            self._writer.execute("PRAGMA foreign_keys = ON")
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._reader.row_factory = sqlite3.Row
            self._reader.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.DatabaseError as error:
            self._writer.close()
            raise RetrievalError(f"{path} cannot be opened as a database: {error}") from error
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Waits for the calls in progress. Later calls raise sqlite3.ProgrammingError."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock())

    def query(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """The rows of a query. It sees what is committed, and in a transaction what that did."""
        if self._writing == threading.get_ident():
            return self._writer.execute(sql, parameters).fetchall()
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchall()

    @contextmanager
    def rows(self, sql: str, parameters: Parameters = ()) -> Generator[sqlite3.Cursor]:
        """As `query`, for results too large to hold twice; other readers wait meanwhile."""
        with self._read_lock:
            yield self._reader.execute(sql, parameters)

    @contextmanager
    def transaction(self) -> Generator[Execute]:
        """Commits what the block did, whole, or nothing if it raises. Holds `exclusively`.

        Inside another one it is a part of that. Raises DiskFull.
        """
        with self._write_lock:
            if self._writer.in_transaction:
                yield self._writer.execute
                return
            self._writer.execute("BEGIN IMMEDIATE")
            self._writing = threading.get_ident()
            try:
                yield self._writer.execute
                self._writer.commit()
            except BaseException as error:
                self._writer.rollback()
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    raise DiskFull from error
                raise
            finally:
                self._writing = None

    @contextmanager
    def exclusively(self) -> Generator[None]:
        """No other thread writes in the block."""
        with self._write_lock:
            yield

    # Where a page of a list begins: after a row that its reader may have deleted since.

    def depart(self, kind: str, scope: str, name: str, seq: int) -> None:
        """Remembers the place of a row that is deleted. `scope` is whose, or of which store."""
        self._departed[kind, scope, name] = seq
        if len(self._departed) > _REMEMBERED:
            self._departed.popitem(last=False)

    def departed(self, kind: str, scope: str, name: str) -> int | None:
        """The place of a row that was deleted lately."""
        return self._departed.get((kind, scope, name))


def new_id(prefix: str) -> str:
    """An id that says nothing of how many there are."""
    return prefix + secrets.token_hex(12)


def storable(text: str) -> str:
    """SQLite takes no lone surrogates; replaced, they match nothing."""
    return text.encode("utf-8", "replace").decode()


def unstorable(param: str, *texts: str) -> None:
    """Raises InvalidRequest for text that is none: half of a surrogate pair."""
    for text in texts:
        if storable(text) != text:
            raise InvalidRequest(param, "must be text; it has half of a surrogate pair")
