"""/v1/conversations and their items."""

from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.documents import cursor
from gateway.convert.items import items_of, settled
from gateway.errors import BadRequest
from gateway.responses.paging import item_list
from gateway.responses.responder import Responder
from gateway.responses.turn import RESULTS, not_kept
from gateway.routes.files import json_answer
from gateway.routes.responses import included
from gateway.schema.conversations import (
    ConversationDeleted,
    CreateConversationRequest,
    CreateItemsRequest,
    UpdateConversationRequest,
)
from gateway.schema.items import FileSearchCall, ItemReference, StoredItem
from retrieval.types import Page

__all__ = [
    "create_conversation",
    "create_items",
    "delete_conversation",
    "delete_item",
    "list_items",
    "retrieve_conversation",
    "retrieve_item",
    "update_conversation",
]

MOST = 100  # items a page
USUAL = 20


@post("/v1/conversations")
async def create_conversation(
    request: Request[Any, Any, Any], responder: NamedDependency[Responder]
) -> ASGIApp:
    """Make a conversation, empty or with its first items."""
    body = await read_json(request, CreateConversationRequest, responder.server.max_body_bytes)
    if not responder.desk.settings.store:
        raise not_kept(None)
    found = await responder.desk.archive.create_conversation(
        owner_of(request.scope), body.metadata or {}, _items(body.items or [])
    )
    return json_answer(found)


@get("/v1/conversations/{conversation_id:str}")
async def retrieve_conversation(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
) -> ASGIApp:
    """One conversation."""
    archive = responder.desk.archive
    return json_answer(await archive.conversation(owner_of(request.scope), conversation_id))


@post("/v1/conversations/{conversation_id:str}")
async def update_conversation(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
) -> ASGIApp:
    """Replace its metadata."""
    body = await read_json(request, UpdateConversationRequest, responder.server.max_body_bytes)
    found = await responder.desk.archive.update_conversation(
        owner_of(request.scope), conversation_id, body.metadata or {}
    )
    return json_answer(found)


@delete("/v1/conversations/{conversation_id:str}", status_code=200)
async def delete_conversation(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
) -> ASGIApp:
    """Remove a conversation; the responses in it stay."""
    owner = owner_of(request.scope)
    await responder.desk.archive.delete_conversation(owner, conversation_id)
    return json_answer(ConversationDeleted(id=conversation_id))


@post("/v1/conversations/{conversation_id:str}/items")
async def create_items(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
) -> ASGIApp:
    """Put items at the end, all or none."""
    body = await read_json(request, CreateItemsRequest, responder.server.max_body_bytes)
    with_results = RESULTS in included(request)
    added = await responder.desk.archive.add_items(
        owner_of(request.scope), conversation_id, _items(body.items)
    )
    return json_answer(item_list(Page(items=added, has_more=False), with_results=with_results))


@get("/v1/conversations/{conversation_id:str}/items")
async def list_items(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
) -> ASGIApp:
    """The items, the latest first unless asked otherwise."""
    with_results = RESULTS in included(request)
    page = await responder.desk.archive.item_page(
        owner_of(request.scope), conversation_id, cursor(request, MOST, USUAL)
    )
    return json_answer(item_list(page, with_results=with_results))


@get("/v1/conversations/{conversation_id:str}/items/{item_id:str}")
async def retrieve_item(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
    item_id: FromPath[str],
) -> ASGIApp:
    """One item."""
    found = await responder.desk.archive.item(owner_of(request.scope), conversation_id, item_id)
    if isinstance(found, FileSearchCall) and RESULTS not in included(request):
        found = msgspec.structs.replace(found, results=None)
    return json_answer(found)


@delete("/v1/conversations/{conversation_id:str}/items/{item_id:str}", status_code=200)
async def delete_item(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    conversation_id: FromPath[str],
    item_id: FromPath[str],
) -> ASGIApp:
    """Take an item out; a response that has it keeps it."""
    found = await responder.desk.archive.delete_item(
        owner_of(request.scope), conversation_id, item_id
    )
    return json_answer(found)


def _items(given: list[dict[str, Any]]) -> list[StoredItem]:
    """Items as they are kept. Raises BadRequest."""
    found: list[StoredItem] = []
    seen: set[str] = set()
    for number, item in enumerate(items_of(given, "items")):
        if isinstance(item, ItemReference):
            message = "A conversation takes items, not references to items."
            raise BadRequest(message, f"items[{number}].type", "invalid_value")
        if item.id in seen:
            message = f"Two items have the id '{item.id}'."
            raise BadRequest(message, f"items[{number}].id", "duplicate_item")
        if item.id is not None:
            seen.add(item.id)
        found.append(settled(item))
    return found
