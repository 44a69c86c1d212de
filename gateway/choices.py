"""Several answers to one request, generated at once and told apart by their number."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.convert.sampling import with_seed
from models.engine import Engine
from models.errors import EngineCrashed
from models.types import GenerateDelta, GenerateEnd, GenerateRequest, Timings, Usage

__all__ = ["Numbered", "generate", "total"]

Numbered = tuple[int, GenerateDelta]


async def generate(
    engine: Engine, request: GenerateRequest, count: int
) -> AsyncGenerator[Numbered, None]:
    """Pieces of `count` answers as they come. One that fails ends them all.

    The engine shares the prompt: the others wait for the first one's prefill.
    """
    if count == 1:
        async with aclosing(_one(engine, request)) as source:
            async for delta in source:
                yield 0, delta
        return
    arrived: asyncio.Queue[Numbered | Exception] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_pump(engine, with_seed(request, number), number, arrived))
        for number in range(count)
    ]
    try:
        left = count
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


def total(ends: list[GenerateEnd]) -> tuple[Usage, Timings]:
    """What several answers cost together: their one prompt once, the slowest one's time."""
    first = ends[0]
    usage = Usage(
        prompt_tokens=first.usage.prompt_tokens,
        completion_tokens=sum(end.usage.completion_tokens for end in ends),
        cached_tokens=first.usage.cached_tokens,
    )
    slowest = max(ends, key=lambda end: end.timings.prefill_ms + end.timings.decode_ms)
    return usage, slowest.timings


async def _pump(
    engine: Engine,
    request: GenerateRequest,
    number: int,
    arrived: "asyncio.Queue[Numbered | Exception]",
) -> None:
    try:
        async with aclosing(_one(engine, request)) as source:
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
