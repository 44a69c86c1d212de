"""POST /v1/chat/completions, answered by one model or by an ensemble."""

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.choices import Numbered, generate, total
from gateway.convert.answers import wire_logprobs, wire_timings, wire_usage
from gateway.convert.chat import generate_request, refuse_unsupported
from gateway.deadline import within
from gateway.disconnect import until_disconnect
from gateway.replies import Reply
from gateway.routes import ensemble_chat
from gateway.runtime import Runtime
from gateway.schema.chat import AssistantAnswer, ChatRequest, Choice, Delta
from gateway.sse import DONE, EventStream, Prefetch
from models.types import GenerateEnd, TokenLogprob

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
    if ensemble is not None:
        return await ensemble_chat.answer(request, body, ensemble, owner, server)
    settings = runtime.registry.settings(body.model)
    engine = runtime.engine(body.model, "chat")
    wanted = generate_request(body, settings, owner)
    source = within(server.request_timeout_s, generate(engine, wanted, body.n or 1))
    reply = Reply.to(body, settings)
    if not body.stream:
        content = await until_disconnect(request.receive, _collect(reply, source))
        return ASGIResponse(body=content, media_type="application/json")
    prefetch = Prefetch(source)
    # Until the first token an error still gets its own status; a long prefill gets comments.
    await prefetch.wait(request.receive, server.keep_alive_s)
    return EventStream(_frames(reply, prefetch, body.n or 1), prefetch, server.keep_alive_s)


@dataclass
class _Collected:
    text: list[str] = field(default_factory=list[str])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    end: GenerateEnd | None = None


async def _collect(reply: Reply, source: AsyncGenerator[Numbered, None]) -> bytes:
    """The whole answers as one body."""
    found: defaultdict[int, _Collected] = defaultdict(_Collected)
    async with aclosing(source):
        async for number, delta in source:
            found[number].text.append(delta.text)
            found[number].logprobs += delta.logprobs
            found[number].end = delta.end
    choices: list[Choice] = []
    ends: list[GenerateEnd] = []
    for number, one in sorted(found.items()):
        assert one.end is not None
        message = AssistantAnswer(content="".join(one.text))
        logprobs = wire_logprobs(one.logprobs) if one.logprobs else None
        choices.append(
            Choice(index=number, message=message, finish_reason=one.end.reason, logprobs=logprobs)
        )
        ends.append(one.end)
    usage, timings = total(ends)
    return reply.completion(choices, wire_usage(usage), wire_timings(usage, timings))


async def _frames(
    reply: Reply, source: Prefetch[Numbered], count: int
) -> AsyncGenerator[bytes, None]:
    """The events of a stream: the roles, the texts, their ends."""
    for number in range(count):
        yield reply.delta(Delta(role="assistant", content="", refusal=None), number)
    ends: dict[int, GenerateEnd] = {}
    async for number, delta in source:
        if delta.text or delta.logprobs:
            logprobs = wire_logprobs(delta.logprobs) if delta.logprobs else None
            yield reply.delta(Delta(content=delta.text), number, logprobs)
        if delta.end is None:
            continue
        ends[number] = delta.end
        if len(ends) < count:
            yield reply.finish(delta.end.reason, number)
        else:
            usage, timings = total([ends[each] for each in range(count)])
            timed = wire_timings(usage, timings)
            yield reply.finish(delta.end.reason, number, timings=timed)
            yield reply.usage(wire_usage(usage), timed) + DONE
