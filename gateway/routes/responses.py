"""/v1/responses: made, streamed, kept, looked at again, cancelled, deleted."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, get_args

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.documents import cursor
from gateway.convert.responses import refuse_unsupported, renamed
from gateway.deadline import finished_within
from gateway.disconnect import until_disconnect
from gateway.errors import BadRequest, to_api_error
from gateway.responses.answering import check_answerable, count_tokens
from gateway.responses.building import shown
from gateway.responses.paging import item_list, page_of
from gateway.responses.responder import Responder
from gateway.responses.turn import RESULTS, Desk, Turn, history_of, own_items
from gateway.routes.files import json_answer
from gateway.schema.response_events import FailedToBegin, ResponseEvent
from gateway.schema.responses import (
    Includable,
    InputTokens,
    InputTokensRequest,
    Response,
    ResponseDeleted,
    ResponsesRequest,
)
from gateway.sse import EventStream, Prefetch, named_event

__all__ = [
    "cancel_response",
    "count_input_tokens",
    "create_response",
    "delete_response",
    "included",
    "list_input_items",
    "retrieve_response",
]

MOST = 100  # items a page
USUAL = 20


@post("/v1/responses")
async def create_response(
    request: Request[Any, Any, Any], responder: NamedDependency[Responder]
) -> ASGIApp:
    """Answer in one piece, as a stream, or in the background."""
    server = responder.server
    body = await read_json(request, ResponsesRequest, server.max_body_bytes)
    owner = owner_of(request.scope)
    streams, stays = bool(body.stream), bool(body.background)
    turn = Turn(responder.desk, body, owner, stream=streams, tells=streams or stays)
    await turn.check()
    if stays:
        job = await responder.jobs.start(turn)
        if not streams:
            return json_answer(turn.response)
        return await _stream(request, responder, job.follow(-1))
    if streams:
        return await _stream(request, responder, turn.events())
    return json_answer(await until_disconnect(request.receive, _whole(turn)))


@get("/v1/responses/{response_id:str}")
async def retrieve_response(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    response_id: FromPath[str],
) -> ASGIApp:
    """One response, or the events of one that runs in the background."""
    owner = owner_of(request.scope)
    with_results = RESULTS in included(request)
    after = _starting_after(request)
    response = await responder.desk.archive.response(owner, response_id)
    if request.query_params.get("stream", "false") != "true":
        if after is not None:
            message = "'starting_after' needs 'stream': true."
            raise BadRequest(message, "starting_after")
        return json_answer(_seen(response, with_results))
    job = responder.jobs.find(owner, response_id)
    if job is None:
        message = (
            f"The response '{response_id}' is {response.status}, and its events are no longer "
            "there; get it without 'stream'."
        )
        raise BadRequest(message, "stream", "stream_over")
    return await _stream(request, responder, job.follow(-1 if after is None else after))


@delete("/v1/responses/{response_id:str}", status_code=200)
async def delete_response(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    response_id: FromPath[str],
) -> ASGIApp:
    """Remove a response; one that runs in the background ends."""
    owner = owner_of(request.scope)
    if responder.jobs.find(owner, response_id) is not None:
        await responder.jobs.cancel(owner, response_id)
    await responder.desk.archive.delete_response(owner, response_id)
    return json_answer(ResponseDeleted(id=response_id))


@post("/v1/responses/{response_id:str}/cancel")
async def cancel_response(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    response_id: FromPath[str],
) -> ASGIApp:
    """End a response that runs in the background."""
    response = await responder.jobs.cancel(owner_of(request.scope), response_id)
    return json_answer(_seen(response, with_results=False))


@get("/v1/responses/{response_id:str}/input_items")
async def list_input_items(
    request: Request[Any, Any, Any],
    responder: NamedDependency[Responder],
    response_id: FromPath[str],
) -> ASGIApp:
    """What a response was made of, with all that was said before it."""
    with_results = RESULTS in included(request)
    wanted = cursor(request, MOST, USUAL)
    items = await responder.desk.archive.given(owner_of(request.scope), response_id)
    return json_answer(item_list(page_of(items, wanted), with_results=with_results))


@post("/v1/responses/input_tokens")
async def count_input_tokens(
    request: Request[Any, Any, Any], responder: NamedDependency[Responder]
) -> ASGIApp:
    """How many tokens the prompt of such a request has."""
    server = responder.server
    body = await read_json(request, InputTokensRequest, server.max_body_bytes)
    counting = _tokens(responder.desk, body, owner_of(request.scope))
    work = finished_within(server.request_timeout_s, counting)
    tokens = await until_disconnect(request.receive, work)
    return json_answer(InputTokens(input_tokens=tokens))


async def _tokens(desk: Desk, body: InputTokensRequest, owner: str) -> int:
    try:
        refuse_unsupported(body)
        items = await own_items(desk.archive, owner, body)
        check_answerable(desk.runtime, body)
        before = await history_of(desk.archive, owner, body, items)
        return await count_tokens(desk.runtime, body, [*before, *items])
    except Exception as error:
        raise renamed(error, body) from error


async def _whole(turn: Turn) -> Response:
    """The response at its end."""
    async with aclosing(turn.events()) as events:
        async for _ in events:
            pass
    return turn.response


async def _stream(
    request: Request[Any, Any, Any],
    responder: Responder,
    events: AsyncGenerator[ResponseEvent, None],
) -> ASGIApp:
    keep_alive_s = responder.server.keep_alive_s
    source = Prefetch(events)
    await source.wait(request.receive, keep_alive_s)
    return EventStream(_frames(source), source, keep_alive_s)


async def _frames(source: Prefetch[ResponseEvent]) -> AsyncGenerator[bytes, None]:
    number = 0
    try:
        async for event in source:
            number = event.sequence_number + 1
            yield _frame(event)
    except Exception as error:
        found = to_api_error(error)
        yield _frame(
            FailedToBegin(
                sequence_number=number, message=found.message, code=found.code, param=found.param
            )
        )


def _frame(event: ResponseEvent) -> bytes:
    return named_event(str(event.__struct_config__.tag), msgspec.json.encode(event))


def _seen(response: Response, with_results: bool) -> Response:
    return shown(response, with_results=with_results)


def included(request: Request[Any, Any, Any]) -> list[str]:
    """What the query asks to be included. Raises BadRequest."""
    found = [
        value
        for name, value in request.query_params.multi_items()
        if name in ("include", "include[]")
    ]
    for value in found:
        if value not in get_args(Includable):
            message = f"include must be one of {', '.join(get_args(Includable))}."
            raise BadRequest(message, "include", "invalid_value")
    return found


def _starting_after(request: Request[Any, Any, Any]) -> int | None:
    given = request.query_params.get("starting_after")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise BadRequest("starting_after must be an event's number.", "starting_after")
    return int(given)
