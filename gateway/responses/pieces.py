"""What an answer is made of, whoever gives it: a model or an ensemble."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import UNSET, Struct, UnsetType

from gateway.choices import generate
from gateway.convert.answers import wire_timings
from gateway.ensemble.events import Answer, Deliberation, EnsembleRequest, Verdict
from gateway.ensemble.pipeline import Ensemble
from gateway.schema.common import Timings
from gateway.schema.ensemble import EnsembleReport, Source
from gateway.schema.items import FileCitation, FileResult
from gateway.sse import Prefetch
from models.engine import Engine
from models.types import CallDelta, FinishReason, GenerateRequest, TokenLogprob, Usage

__all__ = [
    "FIRST_S",
    "Call",
    "Cited",
    "Ended",
    "Piece",
    "Refused",
    "Searched",
    "Searching",
    "Text",
    "Thought",
    "ensemble_pieces",
    "model_pieces",
]


# How long what was begun is held back, so that a refusal still gets a status of its own.
FIRST_S = 0.25


class Searching(Struct, frozen=True):
    """Stores are being searched."""

    queries: list[str]


class Searched(Struct, frozen=True):
    """What that found, best first."""

    results: list[FileResult]


class Thought(Struct, frozen=True):
    """More of what a model thinks, or of how an ensemble deliberates."""

    text: str


class Text(Struct, frozen=True):
    """More of the answer."""

    text: str
    logprobs: Sequence[TokenLogprob] = ()


class Cited(Struct, frozen=True):
    """A citation that stands in the text there has been."""

    citation: FileCitation


class Call(Struct, frozen=True):
    """More of a call."""

    delta: CallDelta


class Refused(Struct, frozen=True):
    """Why there is no answer."""

    text: str


class Ended(Struct, frozen=True, kw_only=True):
    """The last piece."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    report: EnsembleReport | UnsetType = UNSET


Piece = Searching | Searched | Thought | Text | Cited | Call | Refused | Ended


async def model_pieces(
    engine: Engine, request: GenerateRequest, parallel: int
) -> AsyncGenerator[Piece, None]:
    """One model's answer. Closing it cancels."""
    async with aclosing(generate(engine, [request], parallel)) as source:
        async for _, delta in source:
            if delta.reasoning:
                yield Thought(delta.reasoning)
            if delta.text or delta.logprobs:
                yield Text(delta.text, delta.logprobs)
            for call in delta.calls:
                yield Call(call)
            if delta.end is not None:
                end = delta.end
                yield Ended(
                    reason=end.reason,
                    usage=end.usage,
                    timings=wire_timings(end.usage, end.timings),
                )


async def ensemble_pieces(
    ensemble: Ensemble, request: EnsembleRequest, queries: list[str] | None
) -> AsyncGenerator[Piece, None]:
    """An ensemble's answer. With `queries` its search is told as a call of a tool."""
    async with aclosing(Prefetch(ensemble.run(request))) as source:
        if queries is not None:
            await source.first_within(FIRST_S)
            yield Searching(queries)
        async for event in source:
            match event:
                case Deliberation(text=text, shown=shown):
                    if shown:
                        yield Thought(text)
                case Answer(text=text):
                    yield Text(text)
                case Verdict():
                    for piece in _concluded(event, told=queries is not None):
                        yield piece


def _concluded(verdict: Verdict, *, told: bool) -> list[Piece]:
    found: list[Piece] = []
    sources = {source.n: source for source in verdict.report.sources}
    for annotation in verdict.annotations:
        start, end = annotation.url_citation.start_index, annotation.url_citation.end_index
        source = sources[int(verdict.text[start:end].strip("[]"))]
        found.append(Cited(_citation(source, start)))
    if told:
        results = sorted(map(_result, sources.values()), key=lambda one: -one.score)
        found.append(Searched(results))
    if verdict.refused:
        found.append(Refused(verdict.text))
    found.append(
        Ended(
            reason="stop",
            usage=verdict.usage,
            timings=wire_timings(
                verdict.usage, verdict.timings, verdict.retrieval_ms, verdict.vote_ms
            ),
            report=verdict.report,
        )
    )
    return found


def _citation(source: Source, start: int) -> FileCitation:
    return FileCitation(file_id=source.file_id, filename=source.filename, index=start)


def _result(source: Source) -> FileResult:
    return FileResult(
        file_id=source.file_id,
        filename=source.filename,
        score=min(max(source.score, 0.0), 1.0),
        text=source.text,
    )
