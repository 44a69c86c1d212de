# ruff: noqa: S608 - the SQL is put together from the constants of this file, never from values
"""Rows of conversations and of their items."""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from msgspec import Struct

from gateway.errors import ApiError, BadRequest
from gateway.responses.items import Items, decoded
from gateway.responses.records import missing
from gateway.schema.conversations import Conversation
from gateway.schema.items import StoredItem
from retrieval.database import Database, new_id, storable
from retrieval.paging import read_page
from retrieval.types import Cursor, Page

__all__ = ["ConversationLimits", "Conversations"]


class ConversationLimits(Struct, frozen=True, kw_only=True):
    """How many conversations an owner may have, and how many items one."""

    conversations: int
    items: int


class Conversations:
    """Every call names the owner; another's is as one that does not exist."""

    def __init__(self, database: Database, limits: ConversationLimits) -> None:
        self._database = database
        self._limits = limits
        self._items = Items(database)

    def create(
        self, owner: str, metadata: Mapping[str, str], items: Sequence[StoredItem]
    ) -> Conversation:
        """A new one with these items. Raises ApiError where the owner has too many."""
        now = self._database.now()
        with self._database.transaction() as execute:
            (count,) = execute(
                "SELECT COUNT(*) FROM conversations WHERE owner = ?", (owner,)
            ).fetchone()
            if count >= self._limits.conversations:
                message = (
                    f"There are {count} conversations, as many as one key may have "
                    "(responses.max_conversations); delete some."
                )
                raise ApiError(400, message, code="too_many_conversations")
            conversation_id = new_id("conv_")
            execute(
                "INSERT INTO conversations (id, owner, metadata, created_at, used_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (conversation_id, owner, json.dumps(dict(metadata)), now, now),
            )
            self._items.insert(owner, items, part="input", conversation_id=conversation_id)
        return self.read(owner, conversation_id)

    def read(self, owner: str, conversation_id: str) -> Conversation:
        """Raises ApiError (404)."""
        row = self._row(owner, conversation_id)
        return Conversation(
            id=row["id"], created_at=row["created_at"], metadata=json.loads(row["metadata"])
        )

    def update(self, owner: str, conversation_id: str, metadata: Mapping[str, str]) -> Conversation:
        """Replaces the metadata. Raises ApiError (404)."""
        with self._database.transaction() as execute:
            self._row(owner, conversation_id)
            execute(
                "UPDATE conversations SET metadata = ?, used_at = ? WHERE id = ?",
                (json.dumps(dict(metadata)), self._database.now(), conversation_id),
            )
        return self.read(owner, conversation_id)

    def delete(self, owner: str, conversation_id: str) -> None:
        """Raises ApiError (404). What responses have of it stays theirs."""
        with self._database.transaction():
            self._row(owner, conversation_id)
            self._remove("id = ?", (storable(conversation_id),))

    def add(
        self, owner: str, conversation_id: str, items: Sequence[StoredItem]
    ) -> list[StoredItem]:
        """Puts items at the end, all or none. Raises ApiError."""
        with self._database.transaction() as execute:
            self.check(owner, conversation_id, items, "items")
            execute(
                "UPDATE conversations SET used_at = ? WHERE id = ?",
                (self._database.now(), conversation_id),
            )
            return self._items.insert(owner, items, part="input", conversation_id=conversation_id)

    def check(
        self, owner: str, conversation_id: str, items: Sequence[StoredItem], place: str
    ) -> None:
        """Raises ApiError where these items cannot be added to the conversation."""
        self._row(owner, conversation_id)
        twice = self._items.has(conversation_id, [item.id for item in items if item.id])
        if twice is not None:
            number = [item.id for item in items].index(twice)
            message = f"The conversation has an item '{twice}' already; send only what is new."
            raise BadRequest(message, f"{place}[{number}].id", "duplicate_item")
        (row,) = self._database.query(
            "SELECT COUNT(*) AS count FROM items WHERE conversation_id = ?", (conversation_id,)
        )
        if row["count"] + len(items) > self._limits.items:
            message = (
                f"The conversation has {row['count']} items; at most {self._limits.items} are kept "
                "(responses.max_items). Begin another."
            )
            raise BadRequest(message, place, "too_many_items")

    def items(self, owner: str, conversation_id: str) -> list[StoredItem]:
        """All of them, in order. Raises ApiError (404)."""
        self._row(owner, conversation_id)
        return self._items.of_conversation(conversation_id)

    def page(self, owner: str, conversation_id: str, cursor: Cursor) -> Page[StoredItem]:
        """Some of them. Raises ApiError (404), InvalidRequest for the cursor."""
        self._row(owner, conversation_id)
        found = read_page(
            self._database,
            "SELECT * FROM items WHERE conversation_id = :conversation",
            {"conversation": conversation_id},
            cursor,
            seq="seq",
            name="id",
            kind="item",
            scope=conversation_id,
        )
        return Page(items=[decoded(row) for row in found.items], has_more=found.has_more)

    def item(self, owner: str, conversation_id: str, item_id: str) -> StoredItem:
        """One of them. Raises ApiError (404)."""
        return decoded(self._item_row(owner, conversation_id, item_id))

    def delete_item(self, owner: str, conversation_id: str, item_id: str) -> Conversation:
        """Takes it out of the conversation. Raises ApiError (404)."""
        with self._database.transaction() as execute:
            row = self._item_row(owner, conversation_id, item_id)
            execute("DELETE FROM items WHERE seq = ? AND response_id IS NULL", (row["seq"],))
            execute("UPDATE items SET conversation_id = NULL WHERE seq = ?", (row["seq"],))
            self._database.depart("item", conversation_id, item_id, row["seq"])
        return self.read(owner, conversation_id)

    def expire(self, before: int) -> None:
        """Removes what was last used before then."""
        test = "used_at < ?"
        if self._database.query(f"SELECT 1 FROM conversations WHERE {test} LIMIT 1", (before,)):
            with self._database.transaction():
                self._remove(test, (before,))

    def _row(self, owner: str, conversation_id: str) -> sqlite3.Row:
        rows = self._database.query(
            "SELECT * FROM conversations WHERE id = ? AND owner = ?",
            (storable(conversation_id), owner),
        )
        if not rows:
            raise missing("conversation", conversation_id, "conversation_id")
        return rows[0]

    def _item_row(self, owner: str, conversation_id: str, item_id: str) -> sqlite3.Row:
        self._row(owner, conversation_id)
        rows = self._database.query(
            "SELECT * FROM items WHERE conversation_id = ? AND id = ?",
            (conversation_id, storable(item_id)),
        )
        if not rows:
            raise missing("item", item_id, "item_id")
        return rows[0]

    def _remove(self, test: str, values: tuple[object, ...]) -> None:
        with self._database.transaction() as execute:
            execute(
                "DELETE FROM items WHERE response_id IS NULL"
                f" AND conversation_id IN (SELECT id FROM conversations WHERE {test})",
                values,
            )
            execute(f"DELETE FROM conversations WHERE {test}", values)
