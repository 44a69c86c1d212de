"""POST /v1/completions: raw text continued by one model."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.choices import Numbered, collect, generate, total
from gateway.cold_start import after_load, is_cold, patience_s
from gateway.convert.answers import wire_timings, wire_usage
from gateway.convert.completions import (
    LogprobsWriter,
    best_of,
    completion_requests,
    likeliest,
    refuse_unsupported,
)
from gateway.deadline import finished_within, within
from gateway.disconnect import until_disconnect
from gateway.runtime import Runtime
from gateway.schema.completions import (
    CompletionChoice,
    CompletionChunkChoice,
    CompletionRequest,
    FinishReason,
)
from gateway.sse import DONE, EventStream, Prefetch
from gateway.text_replies import TextReply
from models.engine import Engine
from models.types import GenerateEnd, GenerateRequest, Prompt, TextPrompt, TokenPrompt

__all__ = ["create_completion"]


@post("/v1/completions")
async def create_completion(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Decode, continue every prompt, and answer in one piece or as a stream."""
    server = runtime.settings.server
    body = await read_json(request, CompletionRequest, server.max_body_bytes)
    refuse_unsupported(body)
    engine = runtime.engine(body.model, "text completions")
    settings = runtime.registry.settings(body.model)
    requests = completion_requests(body, settings, owner_of(request.scope))
    limit_s = server.request_timeout_s
    source = within(limit_s, generate(engine, requests, settings.parallel))  # the clock runs
    echoes = [""] * len(requests)
    if body.echo:
        work = finished_within(limit_s, _echoes(engine, requests))
        echoes = await until_disconnect(request.receive, work)
    reply = TextReply(body, settings)
    if not body.stream:
        content = await until_disconnect(request.receive, _whole(body, reply, source, echoes))
        return ASGIResponse(body=content, media_type="application/json")
    cold = is_cold(engine)
    prefetch = Prefetch(source)
    silent_s = patience_s(cold=cold, keep_alive_s=server.keep_alive_s)
    await prefetch.wait(request.receive, silent_s)
    frames = _frames(body, reply, prefetch, echoes)
    if cold and not prefetch.begun:
        frames = after_load(reply, settings.id, frames, sum(bool(echo) for echo in echoes))
    return EventStream(frames, prefetch, server.keep_alive_s)


async def _echoes(engine: Engine, requests: Sequence[GenerateRequest]) -> list[str]:
    """Each request's prompt as text."""
    texts: dict[Prompt, str] = {}
    for request in requests:
        match request.prompt:
            case TextPrompt(text=text):
                texts[request.prompt] = text
            case TokenPrompt(tokens=tokens) if request.prompt not in texts:
                texts[request.prompt] = await engine.detokenize(tokens)
            case _:
                pass
    return [texts[request.prompt] for request in requests]


async def _whole(
    body: CompletionRequest,
    reply: TextReply,
    source: AsyncGenerator[Numbered, None],
    echoes: Sequence[str],
) -> bytes:
    """The best `n` answers to each prompt as one body."""
    answers = await collect(source)
    wanted = body.n or 1
    drawn = best_of(body)
    choices: list[CompletionChoice] = []
    for first in range(0, len(answers), drawn):
        for answer in likeliest(answers[first : first + drawn], wanted):
            logprobs = None if body.logprobs is None else LogprobsWriter().write(answer.logprobs)
            choices.append(
                CompletionChoice(
                    index=len(choices),
                    text=echoes[first] + answer.text,
                    finish_reason=_reason(answer.end),
                    logprobs=logprobs,
                )
            )
    usage, timings = total([answer.end for answer in answers], drawn)
    return reply.completion(choices, wire_usage(usage), wire_timings(usage, timings))


async def _frames(
    body: CompletionRequest, reply: TextReply, source: Prefetch[Numbered], echoes: Sequence[str]
) -> AsyncGenerator[bytes, None]:
    """The events of a stream: the prompts if they are echoed, then the answers' pieces."""
    for number, echo in enumerate(echoes):
        if echo:
            yield reply.piece(CompletionChunkChoice(index=number, text=echo))
    writers: defaultdict[int, LogprobsWriter] = defaultdict(LogprobsWriter)
    ends: dict[int, GenerateEnd] = {}
    async for number, delta in source:
        if delta.end is not None:
            ends[number] = delta.end
        logprobs = None if body.logprobs is None else writers[number].write(delta.logprobs)
        reason = None if delta.end is None else _reason(delta.end)
        yield reply.piece(
            CompletionChunkChoice(
                index=number, text=delta.text, finish_reason=reason, logprobs=logprobs
            )
        )
    usage, timings = total([ends[number] for number in range(len(echoes))], body.n or 1)
    yield reply.usage(wire_usage(usage), wire_timings(usage, timings)) + DONE


def _reason(end: GenerateEnd) -> FinishReason:
    """A text completion calls no tools."""
    return "length" if end.reason == "length" else "stop"
