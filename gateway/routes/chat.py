"""POST /v1/chat/completions, answered by one model or by an ensemble."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.choices import Numbered, collect, generate, total
from gateway.cold_start import after_load, is_cold, patience_s
from gateway.convert.answers import (
    wire_answer,
    wire_delta,
    wire_logprobs,
    wire_reason,
    wire_timings,
    wire_usage,
)
from gateway.convert.chat import generate_request, refuse_unsupported
from gateway.convert.sampling import copies
from gateway.deadline import within
from gateway.disconnect import until_disconnect
from gateway.open_webui import task_of, without_offered_tools
from gateway.replies import Reply
from gateway.routes import ensemble_chat
from gateway.runtime import Runtime
from gateway.schema.chat import ChatRequest, Choice, Delta
from gateway.sse import DONE, EventStream, Prefetch
from models.types import GenerateEnd

__all__ = ["create_chat_completion"]


@post("/v1/chat/completions")
async def create_chat_completion(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Decode, choose who answers, and answer in one piece or as a stream."""
    server = runtime.settings.server
    body = await read_json(request, ChatRequest, server.max_body_bytes)
    refuse_unsupported(body)
    owner = owner_of(request.scope)
    ensemble = runtime.ensemble(body.model, body.ensemble)
    model: str | None = body.model
    if ensemble is not None and task_of(request, body):
        # A title or the like, about the talk and not the documents: any one model can do that.
        model = ensemble.settings.members[0].model
    elif ensemble is not None:
        body = without_offered_tools(request, body)
        model = ensemble.settings.model_for_tools if body.tools or body.functions else None
        if model is None:
            return await ensemble_chat.answer(request, body, ensemble, owner, server)
    settings = runtime.registry.settings(model)
    engine = runtime.engine(model, "chat")
    requests = copies(generate_request(body, settings, owner), body.n or 1)
    source = within(server.request_timeout_s, generate(engine, requests, settings.parallel))
    reply = Reply(body, settings)
    functions = bool(body.functions)
    if not body.stream:
        content = await until_disconnect(request.receive, _collect(reply, source, functions))
        return ASGIResponse(body=content, media_type="application/json")
    cold = is_cold(engine)
    prefetch = Prefetch(source)
    # Until the first token an error still gets its own status; a long prefill gets comments, and
    # a load is told.
    silent_s = patience_s(cold=cold, keep_alive_s=server.keep_alive_s)
    await prefetch.wait(request.receive, silent_s)
    frames = _frames(reply, prefetch, body.n or 1, functions)
    if cold and not prefetch.begun:
        # The roles are what every client expects first.
        frames = after_load(reply, settings.id, frames, body.n or 1)
    return EventStream(frames, prefetch, server.keep_alive_s)


async def _collect(reply: Reply, source: AsyncGenerator[Numbered, None], functions: bool) -> bytes:
    """The whole answers as one body."""
    answers = await collect(source)
    choices = [
        Choice(
            index=number,
            message=wire_answer(answer, functions=functions),
            finish_reason=wire_reason(answer.end.reason, functions=functions),
            logprobs=wire_logprobs(answer.logprobs) if answer.logprobs else None,
        )
        for number, answer in enumerate(answers)
    ]
    usage, timings = total([answer.end for answer in answers], len(answers))
    return reply.completion(choices, wire_usage(usage), wire_timings(usage, timings))


async def _frames(
    reply: Reply, source: Prefetch[Numbered], count: int, functions: bool
) -> AsyncGenerator[bytes, None]:
    """The events of a stream: the roles, the texts, their ends."""
    for number in range(count):
        yield reply.delta(Delta(role="assistant", content="", refusal=None), number)
    ends: dict[int, GenerateEnd] = {}
    async for number, delta in source:
        if delta.text or delta.logprobs or delta.reasoning or delta.calls:
            logprobs = wire_logprobs(delta.logprobs) if delta.logprobs else None
            yield reply.delta(wire_delta(delta, functions=functions), number, logprobs)
        if delta.end is None:
            continue
        ends[number] = delta.end
        reason = wire_reason(delta.end.reason, functions=functions)
        if len(ends) < count:
            yield reply.finish(reason, number)
        else:
            usage, timings = total([ends[each] for each in range(count)], count)
            timed = wire_timings(usage, timings)
            yield reply.finish(reason, number, timings=timed)
            yield reply.usage(wire_usage(usage), timed) + DONE
