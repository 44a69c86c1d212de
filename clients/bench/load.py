"""Sends the requests of a workload and times what comes back."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.bench.http import Endpoint, exchange
from clients.bench.measure import Sample, Wave
from clients.bench.sse import DONE, EventReader
from clients.bench.workload import WORKLOADS

__all__ = ["Plan", "Stream", "embed", "measure", "models_of", "stream"]

REQUEST_S = 300.0
WARM_UP_SEED = "warm-up"


@dataclass(frozen=True)
class Plan:
    """What is run. The order of the servers turns from round to round."""

    model: str
    workload: str
    concurrency: Sequence[int]
    tokens: int
    rounds: int
    seed: int

    def requests(self, concurrency: int, turn: int | str) -> list[dict[str, Any]]:
        """The bodies of one round: the same for every server, and at every run."""
        rng = random.Random(f"{self.seed}/{self.workload}/{concurrency}/{turn}")  # noqa: S311
        return WORKLOADS[self.workload](rng, self.model, concurrency, self.tokens)


class Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class Choice(Struct):
    delta: Delta | None = None


class Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Problem(Struct):
    message: str = "unknown error"


class Chunk(Struct):
    """What is read of a chunk; the decoder skips the rest."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Problem | None = None


class Refusal(Struct):
    error: Problem


class ModelEntry(Struct):
    id: str


class ModelList(Struct):
    data: list[ModelEntry]


class Vectors(Struct):
    data: list[msgspec.Raw]
    usage: Usage | None = None


CHUNK = msgspec.json.Decoder(Chunk)


class Stream:
    """Accumulates a chat stream. Times are seconds since `began`."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._last = 0.0
        self._pieces = 0
        self._done = False
        self._sample = Sample()

    def event(self, payload: bytes, now: float) -> None:
        """Take the data of one event. Raises ClientError where it reports an error."""
        if payload == DONE:
            self._done = True
            return
        chunk = CHUNK.decode(payload)
        if chunk.error is not None:
            raise ClientError(chunk.error.message)
        if chunk.usage is not None:
            self._sample.units = chunk.usage.completion_tokens
            self._sample.prompt_tokens = chunk.usage.prompt_tokens
        for choice in chunk.choices:
            delta = choice.delta
            if delta is not None and (delta.content or delta.reasoning_content):
                self._piece(now - self._began)

    def sample(self, now: float) -> Sample:
        """The request's times. Without usage, pieces of text are counted as tokens."""
        if not self._done:
            raise ClientError("the stream ended without [DONE]")
        self._sample.units = self._sample.units or self._pieces
        self._sample.duration = now - self._began
        return self._sample

    def _piece(self, at: float) -> None:
        if self._sample.first is None:
            self._sample.first = at
        else:
            self._sample.gaps.append(at - self._last)
        self._last = at
        self._pieces += 1


async def measure(
    endpoints: Sequence[Endpoint], plan: Plan, advance: Callable[[str], None]
) -> dict[tuple[str, int], list[Wave]]:
    """Run the plan: every server takes its turn in every round. `advance` is told what is next.

    Raises ClientError where a server fails its first request.
    """
    waves: dict[tuple[str, int], list[Wave]] = {}
    for endpoint in endpoints:
        advance(f"{endpoint.name}: warming up")
        warm_up = await _wave(endpoint, plan, plan.requests(1, WARM_UP_SEED))
        if problem := warm_up.samples[0].error:  # it would fail every time
            raise ClientError(f"{endpoint.name}: {problem}")
    for turn in range(plan.rounds):
        for concurrency in plan.concurrency:
            bodies = plan.requests(concurrency, turn)
            first = turn % len(endpoints)
            for endpoint in [*endpoints[first:], *endpoints[:first]]:
                advance(f"{endpoint.name}: {concurrency} clients")
                wave = await _wave(endpoint, plan, bodies)
                waves.setdefault((endpoint.name, concurrency), []).append(wave)
    return waves


async def _wave(endpoint: Endpoint, plan: Plan, bodies: Sequence[dict[str, Any]]) -> Wave:
    send: Callable[[Endpoint, bytes], Awaitable[Sample]]
    send = embed if plan.workload == "embeddings" else stream
    encoded = [msgspec.json.encode(body) for body in bodies]
    began = time.perf_counter()
    samples = await asyncio.gather(*(_attempt(send, endpoint, body) for body in encoded))
    return Wave(samples=samples, seconds=time.perf_counter() - began)


async def _attempt(
    send: Callable[[Endpoint, bytes], Awaitable[Sample]], endpoint: Endpoint, body: bytes
) -> Sample:
    """A request that fails is a result too: the others of its round go on."""
    try:
        async with asyncio.timeout(REQUEST_S):
            return await send(endpoint, body)
    except TimeoutError:
        return Sample(error=f"no answer within {REQUEST_S:.0f} s")
    except (ClientError, msgspec.DecodeError) as error:
        return Sample(error=str(error))


async def stream(endpoint: Endpoint, body: bytes) -> Sample:
    """One streamed chat completion. Raises ClientError."""
    found = Stream(time.perf_counter())
    reader = EventReader()
    async with exchange(endpoint, "POST", "/v1/chat/completions", body) as response:
        if response.status != 200:
            raise ClientError(_refusal(response.status, await response.body()))
        async for piece in response.pieces:
            now = time.perf_counter()
            for payload in reader.feed(piece):
                found.event(payload, now)
    return found.sample(time.perf_counter())


async def embed(endpoint: Endpoint, body: bytes) -> Sample:
    """One embeddings request. Raises ClientError."""
    began = time.perf_counter()
    async with exchange(endpoint, "POST", "/v1/embeddings", body) as response:
        received = await response.body()
    duration = time.perf_counter() - began
    if response.status != 200:
        raise ClientError(_refusal(response.status, received))
    vectors = msgspec.json.decode(received, type=Vectors)
    prompt = vectors.usage.prompt_tokens if vectors.usage else 0
    return Sample(units=len(vectors.data), prompt_tokens=prompt, duration=duration)


async def models_of(endpoint: Endpoint) -> list[str]:
    """The ids that a server lists. Raises ClientError."""
    async with exchange(endpoint, "GET", "/v1/models") as response:
        received = await response.body()
    if response.status != 200:
        raise ClientError(f"{endpoint.name}: {_refusal(response.status, received)}")
    try:
        return [entry.id for entry in msgspec.json.decode(received, type=ModelList).data]
    except msgspec.DecodeError as error:
        raise ClientError(f"{endpoint.name} at {endpoint.url} lists no models: {error}") from error


def _refusal(status: int, body: bytes) -> str:
    try:
        message = msgspec.json.decode(body, type=Refusal).error.message
    except msgspec.DecodeError:
        message = body[:200].decode("utf-8", "replace")
    return f"HTTP {status}: {message}"
