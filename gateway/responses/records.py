# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""Rows of responses: kept, gone on from, expired."""

import sqlite3

import msgspec
from msgspec.structs import replace

from gateway.errors import ApiError
from gateway.responses.items import Items
from gateway.schema.items import StoredItem
from gateway.schema.responses import Response, ResponseError
from retrieval.database import Database, Execute, storable

__all__ = ["INTERRUPTED", "Responses", "missing"]

_decoder = msgspec.json.Decoder(Response)
_STALE_S = 3600  # how far `used_at` may lag: to go on is not to cost a write each time
INTERRUPTED = ResponseError(
    code="server_error",
    message="The gateway was stopped before this response was done. Ask again.",
)
# A response and those it goes back to, the oldest first.
_CHAIN = """WITH RECURSIVE chain (id, previous, depth) AS (
    SELECT id, previous, 0 FROM responses WHERE id = :id AND owner = :owner
    UNION ALL
    SELECT r.id, r.previous, c.depth + 1 FROM responses r JOIN chain c ON r.id = c.previous
    WHERE r.owner = :owner
)"""


class Responses:
    """Every call names the owner; another's is as one that does not exist."""

    def __init__(self, database: Database, most: int) -> None:
        """`most` are kept for an owner; of more, those that were unused for longest go."""
        self._database = database
        self._most = most
        self._items = Items(database)

    def put(
        self,
        owner: str,
        response: Response,
        given: list[StoredItem],
        conversation_id: str | None = None,
    ) -> None:
        """Keeps a response as it is now, with what it was given and what it made, whole.

        With `conversation_id` both go to the end of that conversation, if it is still there.
        """
        now = self._database.now()
        body = msgspec.json.encode(replace(response, output=[]))
        named = response.conversation.id if response.conversation else None
        with self._database.transaction() as execute:
            execute("DELETE FROM items WHERE response_id = ?", (response.id,))
            execute(
                "INSERT INTO responses (id, owner, status, previous, conversation, body, used_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET status = excluded.status, body = excluded.body, used_at = excluded.used_at",
                (
                    response.id,
                    owner,
                    response.status,
                    response.previous_response_id,
                    named,
                    body,
                    now,
                ),
            )
            if (
                conversation_id is not None
                and not execute(
                    "UPDATE conversations SET used_at = ? WHERE id = ? AND owner = ?",
                    (now, conversation_id, owner),
                ).rowcount
            ):
                conversation_id = None  # deleted meanwhile; the response itself is kept
            for part, items in (("input", given), ("output", response.output)):
                self._items.insert(
                    owner,
                    items,
                    part="input" if part == "input" else "output",
                    response_id=response.id,
                    conversation_id=conversation_id,
                )
            self._make_room(owner)

    def read(self, owner: str, response_id: str) -> Response:
        """Raises ApiError (404)."""
        response = _decoder.decode(self._row(owner, response_id)["body"])
        return replace(response, output=self._items.of_response(response_id, "output"))

    def given(self, owner: str, response_id: str) -> list[StoredItem]:
        """What the response was made of, but for a conversation. Raises ApiError (404)."""
        row = self._row(owner, response_id)
        before = self.history(owner, row["previous"]) if row["previous"] else []
        return [*before, *self._items.of_response(response_id, "input")]

    def history(self, owner: str, response_id: str) -> list[StoredItem]:
        """All that was said up to the end of a response, its own output included.

        Raises ApiError: 404 where it or one that it goes back to is gone, 400 while it is not done.
        """
        param = "previous_response_id"
        rows = self._database.query(
            f"{_CHAIN} SELECT r.*, c.depth FROM chain c JOIN responses r ON r.id = c.id"
            " ORDER BY c.depth DESC",
            {"id": storable(response_id), "owner": owner},
        )
        if not rows:
            raise missing("response", response_id, param)
        if rows[-1]["status"] == "in_progress":
            message = f"The response '{response_id}' is not done yet; poll it first."
            raise ApiError(400, message, code="response_not_completed", param=param)
        first = rows[0]
        if first["previous"] is not None:
            message = (
                f"The response '{response_id}' goes back to '{first['previous']}', which was "
                "deleted or has expired."
            )
            raise ApiError(404, message, code="response_not_found", param=param)
        found: list[StoredItem] = []
        if first["conversation"] is not None:
            found += self._conversation_before(first)
        for row in rows:
            found += self._items.of_response(row["id"])
        self._touch(owner, response_id, min(row["used_at"] for row in rows))
        return found

    def delete(self, owner: str, response_id: str) -> None:
        """Raises ApiError (404). What a conversation has of it stays there."""
        with self._database.transaction() as execute:
            self._row(owner, response_id)
            self._remove(execute, "id = ?", (storable(response_id),))

    def interrupt(self) -> None:
        """What was not done when the process ended never will be."""
        rows = self._database.query("SELECT id, body FROM responses WHERE status = 'in_progress'")
        with self._database.transaction() as execute:
            for row in rows:
                response = _decoder.decode(row["body"])
                failed = replace(response, status="failed", error=INTERRUPTED)
                execute(
                    "UPDATE responses SET status = 'failed', body = ? WHERE id = ?",
                    (msgspec.json.encode(failed), row["id"]),
                )

    def expire(self, before: int) -> None:
        """Removes what was last used before then."""
        test = "used_at < ? AND status != 'in_progress'"
        if self._database.query(f"SELECT 1 FROM responses WHERE {test} LIMIT 1", (before,)):
            with self._database.transaction() as execute:
                self._remove(execute, test, (before,))

    def _row(self, owner: str, response_id: str) -> sqlite3.Row:
        rows = self._database.query(
            "SELECT * FROM responses WHERE id = ? AND owner = ?", (storable(response_id), owner)
        )
        if not rows:
            raise missing("response", response_id, "response_id")
        return rows[0]

    def _conversation_before(self, row: sqlite3.Row) -> list[StoredItem]:
        """What the conversation of a response had when that began."""
        (found,) = self._database.query(
            "SELECT MIN(seq) AS seq FROM items WHERE response_id = ? AND conversation_id = ?",
            (row["id"], row["conversation"]),
        )
        if found["seq"] is None:
            return []
        return self._items.of_conversation(row["conversation"], found["seq"])

    def _touch(self, owner: str, response_id: str, oldest: int) -> None:
        now = self._database.now()
        if oldest < now - _STALE_S:
            with self._database.transaction() as execute:
                execute(
                    f"{_CHAIN} UPDATE responses SET used_at = :now"
                    " WHERE id IN (SELECT id FROM chain)",
                    {"id": response_id, "owner": owner, "now": now},
                )

    def _make_room(self, owner: str) -> None:
        with self._database.transaction() as execute:
            (count,) = execute(
                "SELECT COUNT(*) FROM responses WHERE owner = ?", (owner,)
            ).fetchone()
            if count > self._most:
                self._remove(
                    execute,
                    "seq IN (SELECT seq FROM responses WHERE owner = ? AND status != 'in_progress'"
                    " ORDER BY used_at, seq LIMIT ?)",
                    (owner, count - self._most),
                )

    def _remove(self, execute: Execute, test: str, values: tuple[object, ...]) -> None:
        execute(
            "DELETE FROM items WHERE conversation_id IS NULL"
            f" AND response_id IN (SELECT id FROM responses WHERE {test})",
            values,
        )
        execute(f"DELETE FROM responses WHERE {test}", values)


def missing(what: str, name: str, param: str) -> ApiError:
    """Said the same way of what belongs to another."""
    return ApiError(
        404, f"The {what} '{name}' does not exist.", code=f"{what}_not_found", param=param
    )
