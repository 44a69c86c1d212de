"""POST /v1/chat/completions, answered by one model or by an ensemble."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert import generate_request, refuse_unsupported, wire_timings, wire_usage
from gateway.disconnect import until_disconnect
from gateway.replies import Reply
from gateway.routes import ensemble_chat
from gateway.runtime import Runtime
from gateway.schema.chat import AssistantAnswer, ChatRequest, Delta
from gateway.sse import DONE, EventStream, Prefetch
from models.errors import EngineCrashed
from models.types import GenerateDelta, GenerateEnd

__all__ = ["create_chat_completion"]


@post("/v1/chat/completions")
async def create_chat_completion(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Decode, choose who answers, and answer in one piece or as a stream."""
    body = await read_json(request, ChatRequest, runtime.settings.server.max_body_bytes)
    refuse_unsupported(body)
    owner = owner_of(request.scope)
    keep_alive_s = runtime.settings.server.keep_alive_s
    ensemble = runtime.ensemble(body.model, body.ensemble)
    if ensemble is not None:
        return await ensemble_chat.answer(request, body, ensemble, owner, keep_alive_s)
    settings = runtime.registry.settings(body.model)
    engine = runtime.engine(body.model, "chat")
    source = engine.generate(generate_request(body, settings, owner))
    reply = Reply.to(body, settings)
    if not body.stream:
        content = await until_disconnect(request.receive, _collect(reply, source))
        return ASGIResponse(body=content, media_type="application/json")
    prefetch = Prefetch(source)
    # Until the first token an error still gets its own status; a long prefill gets comments.
    await prefetch.wait(request.receive, keep_alive_s)
    return EventStream(_frames(reply, prefetch), prefetch, keep_alive_s)


async def _collect(reply: Reply, source: AsyncGenerator[GenerateDelta, None]) -> bytes:
    """The whole answer as one body."""
    parts: list[str] = []
    end: GenerateEnd | None = None
    try:
        async for delta in source:
            parts.append(delta.text)
            end = delta.end
    finally:
        await source.aclose()
    end = _ended(end)
    return reply.completion(
        AssistantAnswer(content="".join(parts)),
        end.reason,
        wire_usage(end.usage),
        wire_timings(end.usage, end.timings),
    )


async def _frames(reply: Reply, source: Prefetch[GenerateDelta]) -> AsyncGenerator[bytes, None]:
    """The events of a stream: the role, the text, the end."""
    yield reply.delta(Delta(role="assistant", content="", refusal=None))
    end: GenerateEnd | None = None
    async for delta in source:
        if delta.text:
            yield reply.delta(Delta(content=delta.text))
        end = delta.end
    end = _ended(end)
    yield reply.end(end.reason, wire_usage(end.usage), wire_timings(end.usage, end.timings))
    yield DONE


def _ended(end: GenerateEnd | None) -> GenerateEnd:
    if end is None:
        raise EngineCrashed("The model's answer broke off.")
    return end
