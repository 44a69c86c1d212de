"""Responses and conversations that are kept, for an event loop."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.errors import ApiError
from gateway.responses.conversations import ConversationLimits, Conversations
from gateway.responses.items import Items
from gateway.responses.records import Responses
from gateway.responses.tables import migrate
from gateway.schema.conversations import Conversation
from gateway.schema.items import StoredItem
from gateway.schema.responses import Response
from gateway.settings import ResponsesSection
from retrieval.database import Database
from retrieval.lock import DirectoryLock
from retrieval.types import Cursor, Page

__all__ = ["Archive"]

T = TypeVar("T")

FOLDER = "responses"
DATABASE = "responses.sqlite3"
DAY_S = 86_400


class Archive:
    """Every call names its owner, and raises ApiError (404) the same for what is absent or
    another's.

    Methods may be awaited side by side; none blocks the event loop. What has expired is removed
    before anything is looked at. Opening one says of responses that were not done that they failed.
    Raises StoreLocked, RetrievalError for a database that cannot be read, OSError for the folder.
    """

    def __init__(
        self, data_dir: Path, settings: ResponsesSection, clock: Callable[[], float] = time.time
    ) -> None:
        """Creates the folder in `data_dir` if it is missing. `clock` gives Unix seconds."""
        folder = data_dir / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = DirectoryLock(folder)
        try:
            self._database = Database(folder / DATABASE, clock, migrate)
        except BaseException:
            self._lock.release()
            raise
        self._expire_s = settings.expire_days * DAY_S
        self._items = Items(self._database)
        self._responses = Responses(self._database, settings.max_responses)
        limits = ConversationLimits(
            conversations=settings.max_conversations, items=settings.max_items
        )
        self._conversations = Conversations(self._database, limits)
        self._responses.interrupt()

    def now(self) -> int:
        """Unix seconds."""
        return self._database.now()

    def close(self) -> None:
        """Waits for the call in progress. What is not done yet is said to have failed."""
        self._responses.interrupt()
        self._database.close()
        self._lock.release()

    # Responses

    async def put(
        self,
        owner: str,
        response: Response,
        given: list[StoredItem],
        conversation_id: str | None = None,
    ) -> None:
        """Keeps a response and what it was given, and puts both into the conversation: on disk
        when this returns."""
        await self._run(lambda: self._responses.put(owner, response, given, conversation_id))

    async def response(self, owner: str, response_id: str) -> Response:
        return await self._run(lambda: self._responses.read(owner, response_id))

    async def given(self, owner: str, response_id: str) -> list[StoredItem]:
        """What a response was made of, that of the responses before it included."""
        return await self._run(lambda: self._responses.given(owner, response_id))

    async def history(self, owner: str, response_id: str) -> list[StoredItem]:
        """All that was said up to the end of a response."""
        return await self._run(lambda: self._responses.history(owner, response_id))

    async def delete_response(self, owner: str, response_id: str) -> None:
        await self._run(lambda: self._responses.delete(owner, response_id))

    async def referenced(self, owner: str, item_id: str, param: str) -> StoredItem:
        """The latest item of that id."""
        found = await self._run(lambda: self._items.find(owner, item_id))
        if found is None:
            message = f"The item '{item_id}' does not exist."
            raise ApiError(404, message, code="item_not_found", param=param)
        return found

    # Conversations

    async def create_conversation(
        self, owner: str, metadata: Mapping[str, str], items: Sequence[StoredItem]
    ) -> Conversation:
        return await self._run(lambda: self._conversations.create(owner, metadata, items))

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        return await self._run(lambda: self._conversations.read(owner, conversation_id))

    async def update_conversation(
        self, owner: str, conversation_id: str, metadata: Mapping[str, str]
    ) -> Conversation:
        return await self._run(lambda: self._conversations.update(owner, conversation_id, metadata))

    async def delete_conversation(self, owner: str, conversation_id: str) -> None:
        await self._run(lambda: self._conversations.delete(owner, conversation_id))

    async def said(
        self, owner: str, conversation_id: str, new: Sequence[StoredItem]
    ) -> list[StoredItem]:
        """A conversation so far, which the `new` items can be added to."""

        def read() -> list[StoredItem]:
            self._conversations.check(owner, conversation_id, new, "input")
            return self._conversations.items(owner, conversation_id)

        return await self._run(read)

    async def add_items(
        self, owner: str, conversation_id: str, items: Sequence[StoredItem]
    ) -> list[StoredItem]:
        return await self._run(lambda: self._conversations.add(owner, conversation_id, items))

    async def item_page(self, owner: str, conversation_id: str, cursor: Cursor) -> Page[StoredItem]:
        return await self._run(lambda: self._conversations.page(owner, conversation_id, cursor))

    async def item(self, owner: str, conversation_id: str, item_id: str) -> StoredItem:
        return await self._run(lambda: self._conversations.item(owner, conversation_id, item_id))

    async def delete_item(self, owner: str, conversation_id: str, item_id: str) -> Conversation:
        return await self._run(
            lambda: self._conversations.delete_item(owner, conversation_id, item_id)
        )

    # Below, in a thread

    async def _run(self, call: Callable[[], T]) -> T:
        def fresh() -> T:
            before = self._database.now() - self._expire_s
            self._responses.expire(before)
            self._conversations.expire(before)
            return call()

        return await asyncio.to_thread(fresh)
