"""One request to a server under test, and the times of what comes back."""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.bench.http import Endpoint, exchange
from clients.bench.json_check import fault
from clients.bench.measure import Sample
from clients.bench.sse import DONE, EventReader
from clients.bench.workload import Request

__all__ = ["Stream", "Unsupported", "embed", "models_of", "stream"]

# What servers say of a parameter, a route or a length that they do not take.
REFUSALS = frozenset({400, 404, 405, 413, 415, 422, 501})


class Unsupported(ClientError):
    """The server takes no such request: it would refuse it every time."""


class Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class Choice(Struct):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None


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
    """Accumulates a chat stream. Times are seconds since `began`, a time of perf_counter().

    `told` is called after each piece of text with how many there were.
    """

    def __init__(
        self, began: float, request: Request, told: Callable[[int], None] | None = None
    ) -> None:
        self._began = began
        self._request = request
        self._told = told
        self._last: dict[int, float] = {}
        self._text: list[str] = []
        self._pieces = 0
        self._ends: list[str] = []
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
            self._sample.prompt_tokens = chunk.usage.prompt_tokens
            if not chunk.choices:
                # llama-server closes each choice with a usage of its own; others count them all.
                self._sample.units += chunk.usage.completion_tokens
        for choice in chunk.choices:
            self._choice(choice, now - self._began)

    def sample(self, now: float) -> Sample:
        """The times of a request that has ended. Raises Unsupported or ClientError."""
        if not self._done:
            raise ClientError("the stream ended without [DONE]")
        if len(self._last) < self._request.choices and len(self._ends) < self._request.choices:
            raise Unsupported(f"{len(self._last)} of {self._request.choices} choices came")
        self._sample.cut = "length" in self._ends
        if self._request.json and not self._sample.cut:
            self._sample.invalid = fault("".join(self._text))
        return self.so_far(now)

    def so_far(self, now: float) -> Sample:
        """The times until now. Without usage, pieces of text are counted as tokens."""
        self._sample.units = self._sample.units or self._pieces
        self._sample.duration = now - self._began
        return self._sample

    def _choice(self, choice: Choice, at: float) -> None:
        delta = choice.delta
        if delta is not None and (delta.content or delta.reasoning_content):
            self._piece(choice.index, at)
            if self._request.json:
                self._text.append(delta.content or "")
        if choice.finish_reason:
            self._ends.append(choice.finish_reason)

    def _piece(self, index: int, at: float) -> None:
        if self._sample.first is None:
            self._sample.first = at
        if index in self._last:
            self._sample.gaps.append(at - self._last[index])
        self._last[index] = at
        self._pieces += 1
        if self._told is not None:
            self._told(self._pieces)


async def stream(endpoint: Endpoint, request: Request, found: Stream | None = None) -> Sample:
    """One streamed chat completion. Raises ClientError."""
    found = found or Stream(time.perf_counter(), request)
    reader = EventReader()
    body = msgspec.json.encode(endpoint.named(request.body))
    async with exchange(endpoint, "POST", "/v1/chat/completions", body) as response:
        if response.status != 200:
            raise _refused(response.status, await response.body())
        async for piece in response.pieces:
            now = time.perf_counter()
            for payload in reader.feed(piece):
                found.event(payload, now)
    return found.sample(time.perf_counter())


async def embed(endpoint: Endpoint, request: Request) -> Sample:
    """One embeddings request. Raises ClientError."""
    began = time.perf_counter()
    body = msgspec.json.encode(endpoint.named(request.body))
    async with exchange(endpoint, "POST", "/v1/embeddings", body) as response:
        received = await response.body()
    duration = time.perf_counter() - began
    if response.status != 200:
        raise _refused(response.status, received)
    vectors = msgspec.json.decode(received, type=Vectors)
    if len(vectors.data) != request.choices:
        raise Unsupported(f"{len(vectors.data)} vectors came for {request.choices} texts")
    prompt = vectors.usage.prompt_tokens if vectors.usage else 0
    return Sample(units=len(vectors.data), prompt_tokens=prompt, duration=duration)


async def models_of(endpoint: Endpoint) -> list[str]:
    """The ids that a server lists. Raises ClientError."""
    async with exchange(endpoint, "GET", "/v1/models") as response:
        received = await response.body()
    if response.status != 200:
        raise ClientError(f"{endpoint.name}: {_refused(response.status, received)}")
    try:
        return [entry.id for entry in msgspec.json.decode(received, type=ModelList).data]
    except msgspec.DecodeError as error:
        raise ClientError(f"{endpoint.name} at {endpoint.url} lists no models: {error}") from error


def _refused(status: int, body: bytes) -> ClientError:
    try:
        message = msgspec.json.decode(body, type=Refusal).error.message
    except msgspec.DecodeError:
        message = body[:200].decode("utf-8", "replace")
    kind = Unsupported if status in REFUSALS else ClientError
    return kind(f"HTTP {status}: {message}")
