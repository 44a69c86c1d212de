"""Rows of items: of responses, of conversations, or of both."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from gateway.convert.items import new_item_id
from gateway.schema.items import StoredItem
from retrieval.database import Database, storable

__all__ = ["Items", "decoded"]

_decoder = msgspec.json.Decoder(StoredItem)


class Items:
    """Inside a transaction, or reading. Items are `settled`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self,
        owner: str,
        items: Iterable[StoredItem],
        *,
        part: Literal["input", "output"],
        response_id: str | None = None,
        conversation_id: str | None = None,
    ) -> list[StoredItem]:
        """Puts items at the end. An id that the conversation has already is made anew."""
        found: list[StoredItem] = []
        with self._database.transaction() as execute:
            for item in items:
                if conversation_id is not None and self.has(conversation_id, [item.id or ""]):
                    item = replace(item, id=new_item_id(type(item)))
                found.append(item)
                execute(
                    "INSERT INTO items (id, owner, response_id, conversation_id, part, body)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        storable(item.id or ""),
                        owner,
                        response_id,
                        conversation_id,
                        part,
                        msgspec.json.encode(item),
                    ),
                )
        return found

    def has(self, conversation_id: str, ids: Sequence[str]) -> str | None:
        """The first of the ids that the conversation has already."""
        for one in ids:
            if self._database.query(
                "SELECT 1 FROM items WHERE conversation_id = ? AND id = ?",
                (conversation_id, storable(one)),
            ):
                return one
        return None

    def of_response(
        self, response_id: str, part: Literal["input", "output"] | None = None
    ) -> list[StoredItem]:
        """A response's own, in order."""
        rows = self._database.query(
            "SELECT body FROM items WHERE response_id = :id AND part = COALESCE(:part, part)"
            " ORDER BY seq",
            {"id": response_id, "part": part},
        )
        return [decoded(row) for row in rows]

    def of_conversation(self, conversation_id: str, before: int | None = None) -> list[StoredItem]:
        """All of a conversation, or those that come before the row `before`."""
        rows = self._database.query(
            "SELECT body FROM items WHERE conversation_id = :id"
            " AND seq < COALESCE(:before, seq + 1) ORDER BY seq",
            {"id": conversation_id, "before": before},
        )
        return [decoded(row) for row in rows]

    def find(self, owner: str, item_id: str) -> StoredItem | None:
        """The latest item of that id."""
        rows = self._database.query(
            "SELECT body FROM items WHERE owner = ? AND id = ? ORDER BY seq DESC LIMIT 1",
            (owner, storable(item_id)),
        )
        return decoded(rows[0]) if rows else None


def decoded(row: Any) -> StoredItem:
    """The item of a row."""
    return _decoder.decode(row["body"])
