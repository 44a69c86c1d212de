"""A chat request answered by an ensemble: the deliberation as reasoning, then the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import UNSET

from gateway.convert.answers import wire_timings, wire_usage
from gateway.convert.chat import ensemble_request
from gateway.deadline import within
from gateway.disconnect import until_disconnect
from gateway.ensemble.events import Answer, Deliberation, Event, Verdict
from gateway.ensemble.pipeline import Ensemble
from gateway.open_webui import source_events, status_line, wants_events
from gateway.replies import Reply
from gateway.schema.chat import AssistantAnswer, ChatRequest, Choice, Delta
from gateway.schema.common import Timings
from gateway.settings import ServerSettings
from gateway.sse import DONE, EventStream, Prefetch

__all__ = ["answer"]

# How long a stream may wait to begin, so that a refusal still gets its own status. The first
# event is the end of the search; a client should not look at nothing for longer than this.
FIRST_EVENT_S = 0.25


async def answer(
    request: Request[Any, Any, Any],
    body: ChatRequest,
    ensemble: Ensemble,
    owner: str,
    server: ServerSettings,
) -> ASGIApp:
    """Answer in one piece or as a stream."""
    source = within(server.request_timeout_s, ensemble.run(ensemble_request(body, owner)))
    reply = Reply(body, ensemble.settings)
    if not body.stream:
        content = await until_disconnect(request.receive, _collect(reply, source))
        return ASGIResponse(body=content, media_type="application/json")
    prefetch = Prefetch(source)
    await prefetch.wait(request.receive, min(FIRST_EVENT_S, server.keep_alive_s))
    frames = _frames(reply, prefetch, events=wants_events(request, body))
    return EventStream(frames, prefetch, server.keep_alive_s)


async def _collect(reply: Reply, source: AsyncGenerator[Event, None]) -> bytes:
    """The whole answer as one body."""
    async with aclosing(source):
        async for event in source:
            if isinstance(event, Verdict):
                return _completion(reply, event)
    raise RuntimeError("the ensemble ended without a verdict")


def _completion(reply: Reply, verdict: Verdict) -> bytes:
    message = AssistantAnswer(
        content=None if verdict.refused else verdict.text,
        refusal=verdict.text if verdict.refused else None,
        annotations=verdict.annotations,
        reasoning_content=verdict.reasoning or UNSET,
    )
    timings = _timings(verdict)
    choice = Choice(index=0, message=message, finish_reason="stop")
    return reply.completion([choice], wire_usage(verdict.usage), timings, verdict.report)


def _timings(verdict: Verdict) -> Timings:
    return wire_timings(verdict.usage, verdict.timings, verdict.retrieval_ms, verdict.vote_ms)


async def _frames(
    reply: Reply, source: Prefetch[Event], *, events: bool
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; annotations and the report come with the last chunk."""
    yield reply.delta(Delta(role="assistant", content="", refusal=None))
    async for event in source:
        match event:
            case Deliberation():
                if event.shown:
                    yield reply.delta(Delta(reasoning_content=event.text))
                if events:
                    yield reply.status(status_line(event.text), done=False)
            case Answer():
                yield reply.delta(Delta(content=event.text))
            case Verdict():
                timings = _timings(event)
                if event.refused:
                    yield reply.delta(Delta(refusal=event.text))
                if events:
                    yield reply.status(status_line(event.report.explanation), done=True)
                    for each in source_events(event.report.sources if event.annotations else []):
                        yield reply.event(each)
                annotations = Delta(annotations=event.annotations)
                yield reply.finish("stop", delta=annotations, report=event.report, timings=timings)
                yield reply.usage(wire_usage(event.usage), timings) + DONE
                return
    raise RuntimeError("the ensemble ended without a verdict")
