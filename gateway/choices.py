"""Several answers generated at once and told apart by their number."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from models.engine import Engine
from models.errors import EngineCrashed
from models.parts import join_calls
from models.types import (
    CallDelta,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Timings,
    TokenLogprob,
    Usage,
)

__all__ = ["Answer", "Numbered", "collect", "generate", "total"]

Numbered = tuple[int, GenerateDelta]


@dataclass
class Answer:
    """One whole answer."""

    text: str
    logprobs: list[TokenLogprob]
    end: GenerateEnd
    reasoning: str = ""
    calls: Sequence[CallDelta] = ()


async def generate(
    engine: Engine, requests: Sequence[GenerateRequest], at_once: int
) -> AsyncGenerator[Numbered, None]:
    """Pieces of the answers as they come, each with its request's number. A failure ends them all.

    The engine gets `at_once` of them at a time, so that one client's many do not fill its queue.
    Those with one prompt share it: the others wait for the first one's prefill.
    """
    if len(requests) == 1:
        async with aclosing(_one(engine, requests[0])) as source:
            async for delta in source:
                yield 0, delta
        return
    arrived: asyncio.Queue[Numbered | Exception] = asyncio.Queue()
    room = asyncio.Semaphore(at_once)
    tasks = [
        asyncio.create_task(_pump(engine, request, number, arrived, room))
        for number, request in enumerate(requests)
    ]
    try:
        left = len(requests)
        while left:
            item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            left -= item[1].end is not None
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def collect(source: AsyncGenerator[Numbered, None]) -> list[Answer]:
    """The whole answers, in the order of their requests."""
    found: defaultdict[int, _Growing] = defaultdict(_Growing)
    async with aclosing(source):
        async for number, delta in source:
            one = found[number]
            one.text.append(delta.text)
            one.logprobs += delta.logprobs
            one.reasoning.append(delta.reasoning)
            one.calls += delta.calls
            one.end = delta.end
    answers: list[Answer] = []
    for _, one in sorted(found.items()):
        assert one.end is not None
        reasoning, calls = "".join(one.reasoning), join_calls(one.calls)
        answers.append(Answer("".join(one.text), one.logprobs, one.end, reasoning, calls))
    return answers


def total(ends: Sequence[GenerateEnd], per_prompt: int) -> tuple[Usage, Timings]:
    """What the answers cost together: each prompt of so many answers once, the slowest's time."""
    prompts = ends[::per_prompt]
    usage = Usage(
        prompt_tokens=sum(end.usage.prompt_tokens for end in prompts),
        completion_tokens=sum(end.usage.completion_tokens for end in ends),
        cached_tokens=sum(end.usage.cached_tokens for end in prompts),
        reasoning_tokens=sum(end.usage.reasoning_tokens for end in ends),
        cost=sum(end.usage.cost for end in ends),
    )
    slowest = max(ends, key=lambda end: end.timings.prefill_ms + end.timings.decode_ms)
    return usage, slowest.timings


@dataclass
class _Growing:
    text: list[str] = field(default_factory=list[str])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[CallDelta] = field(default_factory=list[CallDelta])
    end: GenerateEnd | None = None


async def _pump(
    engine: Engine,
    request: GenerateRequest,
    number: int,
    arrived: "asyncio.Queue[Numbered | Exception]",
    room: asyncio.Semaphore,
) -> None:
    try:
        async with room, aclosing(_one(engine, request)) as source:
            async for delta in source:
                arrived.put_nowait((number, delta))
    except Exception as error:
        arrived.put_nowait(error)


async def _one(engine: Engine, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
    ended = False
    async with aclosing(engine.generate(request)) as source:
        async for delta in source:
            ended = delta.end is not None
            yield delta
    if not ended:
        raise EngineCrashed("The model's answer broke off.")
