"""POST /v1/completions: raw text continued by one model."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
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
    whole_logprobs,
)
from gateway.deadline import finished_within, within
from gateway.disconnect import until_disconnect
from gateway.echo import Echo, echoes, with_rating
from gateway.runtime import Runtime
from gateway.schema.completions import (
    CompletionChoice,
    CompletionChunkChoice,
    CompletionRequest,
    FinishReason,
)
from gateway.sse import DONE, EventStream, Prefetch
from gateway.text_replies import TextReply
from models.types import GenerateDelta, GenerateEnd

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
    echoed: list[Echo] = []
    if body.echo:
        rated = body.logprobs is not None or body.max_tokens == 0
        asked = echoes(engine, requests, settings.parallel, rated=rated)
        echoed = await until_disconnect(request.receive, finished_within(limit_s, asked))
    if body.max_tokens == 0:
        source = _echo_alone(echoed)
    reply = TextReply(body, settings)
    if not body.stream:
        content = await until_disconnect(request.receive, _whole(body, reply, source, echoed))
        return ASGIResponse(body=content, media_type="application/json")
    cold = is_cold(engine)
    prefetch = Prefetch(source)
    silent_s = patience_s(cold=cold, keep_alive_s=server.keep_alive_s)
    await prefetch.wait(request.receive, silent_s)
    frames = _frames(body, reply, prefetch, echoed)
    if cold and not prefetch.begun:
        frames = after_load(reply, settings.id, frames, len(echoed))
    return EventStream(frames, prefetch, server.keep_alive_s)


async def _echo_alone(echoed: Sequence[Echo]) -> AsyncGenerator[Numbered, None]:
    """Empty answers: what was asked for is in the prompt."""
    for number, echo in enumerate(echoed):
        assert echo.end is not None
        yield number, GenerateDelta("", msgspec.structs.replace(echo.end, reason="length"))


async def _whole(
    body: CompletionRequest,
    reply: TextReply,
    source: AsyncGenerator[Numbered, None],
    echoed: Sequence[Echo],
) -> bytes:
    """The best `n` answers to each prompt as one body."""
    answers = await collect(source)
    wanted = body.n or 1
    drawn = best_of(body)
    choices: list[CompletionChoice] = []
    for first in range(0, len(answers), drawn):
        echo = echoed[first] if echoed else None
        for answer in likeliest(answers[first : first + drawn], wanted):
            choices.append(
                CompletionChoice(
                    index=len(choices),
                    text=answer.text if echo is None else echo.text + answer.text,
                    finish_reason=_reason(answer.end),
                    logprobs=None if body.logprobs is None else whole_logprobs(echo, answer),
                )
            )
    usage, timings = with_rating(*total([answer.end for answer in answers], drawn), echoed)
    return reply.completion(choices, wire_usage(usage), wire_timings(usage, timings))


async def _frames(
    body: CompletionRequest, reply: TextReply, source: Prefetch[Numbered], echoed: Sequence[Echo]
) -> AsyncGenerator[bytes, None]:
    """The events of a stream: the prompts if they are echoed, then the answers' pieces."""
    writers: defaultdict[int, LogprobsWriter] = defaultdict(LogprobsWriter)
    for number, echo in enumerate(echoed):
        rated = None if body.logprobs is None else writers[number].begin(echo)
        yield reply.piece(CompletionChunkChoice(index=number, text=echo.text, logprobs=rated))
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
    costs = total([ends[number] for number in range(len(ends))], body.n or 1)
    usage, timings = with_rating(*costs, echoed)
    yield reply.usage(wire_usage(usage), wire_timings(usage, timings)) + DONE


def _reason(end: GenerateEnd) -> FinishReason:
    """A text completion calls no tools."""
    return "length" if end.reason == "length" else "stop"
