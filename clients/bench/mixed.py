"""Streams that run, and a long prompt that is sent into them."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from clients.api import ClientError
from clients.bench.http import Endpoint
from clients.bench.measure import Sample, Wave
from clients.bench.stream import Stream, stream
from clients.bench.workload import Request

__all__ = ["run_into"]

ALONE = 48  # pieces of text of every stream before the prompt is sent


async def run_into(
    endpoint: Endpoint, case: str, turn: int, requests: Sequence[Request], limit_s: float
) -> Wave:
    """Start the streams, send the last request once they run, hang up when it has been answered.

    A stream that ends on its own before that is an error: it did not last the prefill.
    """
    began = time.perf_counter()
    all_run = asyncio.Event()
    running: set[int] = set()

    def told(number: int, pieces: int) -> None:
        if pieces == ALONE:
            running.add(number)
            if len(running) == len(streams):
                all_run.set()

    *streams, prompt = requests
    made = [
        Stream(began, request, lambda pieces, number=number: told(number, pieces))
        for number, request in enumerate(streams)
    ]
    tasks = [
        asyncio.ensure_future(stream(endpoint, request, each))
        for request, each in zip(streams, made, strict=True)
    ]
    waiting = asyncio.ensure_future(all_run.wait())
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            sent = time.perf_counter()
            last = await _answered(endpoint, prompt) if all_run.is_set() else Sample()
            last.began = sent - began
    except TimeoutError:
        last = Sample(error=f"not done within {limit_s:.0f} s")
    ended = time.perf_counter()
    lasted = [not task.done() for task in tasks]
    for task in (waiting, *tasks):
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    samples = [each.so_far(ended) for each in made]
    for sample, still_ran, outcome in zip(samples, lasted, outcomes, strict=True):
        if not still_ran:
            why = (
                str(outcome)
                if isinstance(outcome, Exception)
                else "it ended before the prefill did"
            )
            sample.error = f"a stream did not last: {why}"
    return Wave(case=case, turn=turn, samples=[*samples, last], seconds=ended - began)


async def _answered(endpoint: Endpoint, prompt: Request) -> Sample:
    try:
        return await stream(endpoint, prompt)
    except (ClientError, msgspec.DecodeError) as error:
        return Sample(error=str(error))
