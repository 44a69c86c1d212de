"""One response, from what was asked to what is kept."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from gateway.convert.items import items_of, settled
from gateway.convert.responses import (
    conversation_of,
    refuse_unsupported,
    renamed,
    response_head,
)
from gateway.deadline import finished_within, within
from gateway.errors import ApiError, BadRequest
from gateway.responses.answering import answer_pieces, check_answerable, patience_s
from gateway.responses.archive import Archive
from gateway.responses.building import ResponseBuilder, shown
from gateway.responses.pieces import Piece
from gateway.responses.queueing import OneAtATime
from gateway.runtime import Runtime
from gateway.schema.items import (
    FunctionCallItem,
    FunctionCallOutput,
    Item,
    ItemReference,
    StoredItem,
)
from gateway.schema.response_events import ResponseEvent
from gateway.schema.responses import InputTokensRequest, Response, ResponseError, ResponsesRequest
from gateway.settings import ResponsesSection
from gateway.sse import Prefetch
from retrieval.database import new_id

__all__ = ["RESULTS", "Desk", "Turn", "history_of", "not_kept", "own_items"]

log = logging.getLogger("jurat.responses")

RESULTS = "file_search_call.results"


class Desk(NamedTuple):
    """What every response needs."""

    runtime: Runtime
    archive: Archive
    settings: ResponsesSection
    order: OneAtATime  # of the responses of one conversation


class Turn:
    """A response that is asked for. `check` comes first, then `events`, once.

    `stream` says whether somebody reads along; with `tells` a failure is a last event and is kept,
    and without it is raised.
    """

    def __init__(
        self, desk: Desk, body: ResponsesRequest, owner: str, *, stream: bool, tells: bool
    ) -> None:
        self._desk = desk
        self._body = body
        self._stream = stream
        self._tells = tells
        self._conversation = conversation_of(body)
        self._items: list[StoredItem] = []
        self._with_results = RESULTS in (body.include or ())
        self.owner = owner
        self.keeps = body.store is not False and desk.settings.store
        head = response_head(body, new_id("resp_"), desk.archive.now(), store=self.keeps)
        self._builder = ResponseBuilder(head, with_results=self._with_results)

    @property
    def response(self) -> Response:
        """As far as it is, as its client sees it."""
        return shown(self._builder.response, with_results=self._with_results)

    async def check(self) -> None:
        """Raises ApiError for a request that cannot be answered, as far as that is known now."""
        try:
            self._refuse_to_keep()
            refuse_unsupported(self._body)
            self._items = await own_items(self._desk.archive, self.owner, self._body)
            check_answerable(self._desk.runtime, self._body)
            if self._body.background:  # later, its client could only be told by polling
                await self._before()
        except Exception as error:
            raise renamed(error, self._body) from error

    async def events(self) -> AsyncGenerator[ResponseEvent, None]:
        """What happens, to the end. Closing it breaks off; nothing is kept then.

        Raises ApiError while nothing was yielded yet, and later unless it tells of errors.
        """
        server = self._desk.runtime.settings.server
        async with AsyncExitStack() as stack:
            try:
                if self._conversation is not None:
                    turn = self._desk.order.turn(self.owner, self._conversation)
                    waiting = stack.enter_async_context(turn)
                    await finished_within(server.request_timeout_s, waiting)
                before = await self._before()
                pieces = answer_pieces(
                    self._desk.runtime,
                    self._body,
                    self.owner,
                    [*before, *self._items],
                    stream=self._stream,
                )
                source = Prefetch(within(server.request_timeout_s, pieces))
                stack.push_async_callback(source.aclose)
                await source.first_within(patience_s(self._desk.runtime, self._body))
            except Exception as error:
                raise renamed(error, self._body) from error
            async for event in self._told(source):
                yield event

    async def _before(self) -> list[StoredItem]:
        """What was said before. Raises ApiError where this request does not go on from it."""
        before = await history_of(self._desk.archive, self.owner, self._body, self._items)
        _check_calls(self._items, before)
        return before

    async def cancelled(self) -> None:
        """Keeps that it was cancelled, with the items that were whole."""
        await self._keep(self._builder.cancelled(), None)

    async def begin(self) -> None:
        """Keeps it as one that is in progress."""
        await self._keep(self._builder.response, None)

    async def failed_to_begin(self, error: ApiError) -> None:
        """Keeps why it never began."""
        for _ in self._builder.fail(_response_error(error)):
            pass
        await self._keep(self._builder.response, None)

    async def _told(self, source: Prefetch[Piece]) -> AsyncGenerator[ResponseEvent, None]:
        builder = self._builder
        for event in builder.begin():
            yield event
        try:
            async for piece in source:
                for event in builder.add(piece):
                    yield event
            last = list(builder.finish(self._desk.archive.now()))
            await self._keep(builder.response, self._conversation)
        except Exception as error:
            found = renamed(error, self._body)
            if not self._tells:
                raise found from error
            last = list(builder.fail(_response_error(found)))
            try:
                await self._keep(builder.response, None)
            except Exception:
                log.exception("a failed response could not be kept")
        for event in last:
            yield event

    async def _keep(self, response: Response, conversation_id: str | None) -> None:
        if self.keeps:
            put = self._desk.archive.put(self.owner, response, self._items, conversation_id)
            await _unbroken(put)

    def _refuse_to_keep(self) -> None:
        """Raises BadRequest where something is asked for that takes keeping."""
        body = self._body
        if not self._desk.settings.store:
            for name in ("store", "background", "previous_response_id", "conversation"):
                if getattr(body, name):
                    raise not_kept(name)
        if not self.keeps:
            for name in ("background", "conversation"):
                if getattr(body, name):
                    raise BadRequest(f"'{name}' needs 'store': true.", name)


def not_kept(param: str | None) -> BadRequest:
    """What asks for storage is told where there is none."""
    subject = f"'{param}' asks for responses to be kept, which" if param else "That"
    message = f"{subject} is turned off on this gateway (responses.store)."
    return BadRequest(message, param, "storage_disabled")


async def own_items(archive: Archive, owner: str, body: InputTokensRequest) -> list[StoredItem]:
    """What the request itself says, references looked up. Raises ApiError."""
    given = items_of(body.input, "input")
    return [
        settled(await _resolved(archive, owner, item, f"input[{number}].id"))
        for number, item in enumerate(given)
    ]


async def history_of(
    archive: Archive, owner: str, body: InputTokensRequest, new: Sequence[StoredItem]
) -> list[StoredItem]:
    """What was said before, to which the `new` items are added. Raises ApiError."""
    if body.previous_response_id is not None:
        return await archive.history(owner, body.previous_response_id)
    conversation = conversation_of(body)
    if conversation is None:
        return []
    try:
        return await archive.said(owner, conversation, new)
    except ApiError as error:
        if error.param == "conversation_id":
            error.param = "conversation"
        raise


async def _resolved(archive: Archive, owner: str, item: Item, param: str) -> StoredItem:
    if isinstance(item, ItemReference):
        return await archive.referenced(owner, item.id, param)
    return item


def _check_calls(new: Sequence[StoredItem], before: Sequence[StoredItem]) -> None:
    """Raises BadRequest for a call's output where nobody called."""
    called = {item.call_id for item in (*before, *new) if isinstance(item, FunctionCallItem)}
    for number, item in enumerate(new):
        if isinstance(item, FunctionCallOutput) and item.call_id not in called:
            message = f"There is no function call '{item.call_id}' before its output."
            raise BadRequest(message, f"input[{number}].call_id", "invalid_value")


def _response_error(error: ApiError) -> ResponseError:
    codes = {429: "rate_limit_exceeded", 400: "invalid_prompt", 404: "invalid_prompt"}
    return ResponseError(code=codes.get(error.status, "server_error"), message=error.message)


async def _unbroken(work: Coroutine[Any, Any, None]) -> None:
    """Awaits work that, once begun, is finished even if the caller is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
