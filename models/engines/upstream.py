"""A model that another OpenAI-compatible server runs."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from models.errors import (
    EngineCrashed,
    EngineUnavailable,
    LoadFailed,
    ModelError,
    QueueFull,
    Unsupported,
)
from models.settings import ModelSettings
from models.types import (
    EmbedRequest,
    EmbedResult,
    EngineState,
    EngineStats,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    RerankRequest,
    RerankResult,
    Timings,
    TokenizeRequest,
)
from models.upstream import faults
from models.upstream.bodies import generation
from models.upstream.chunks import StreamReader
from models.upstream.circuit import Circuit, backoff
from models.upstream.connection import Connection
from models.upstream.dialects import DIALECTS
from models.upstream.faults import Fault
from models.upstream.job import Job
from models.upstream.texts import Texts
from models.upstream_settings import UpstreamSettings

__all__ = ["UpstreamEngine"]

log = logging.getLogger(__name__)
T = TypeVar("T")
LAST_BYTES_S = 0.5  # for the end of a stream, after the last event
LONGEST_WAIT_S = 30.0  # that a request waits because the server asks for it; beyond, it is told


class UpstreamEngine:
    """See `models.engine.Engine`. Attempts that fail before the first piece of an answer are
    repeated; after it, a failure is EngineCrashed.

    `url` ends before `/chat/completions`. A key that is not set is told to whoever asks.
    """

    def __init__(self, settings: ModelSettings, url: str) -> None:
        self._model = settings.id
        self._kind = settings.kind
        self._settings = settings.upstream or UpstreamSettings()
        self._name = self._settings.model or settings.id
        self._most_waiting = settings.max_waiting
        self._context = settings.context
        self._dialect = DIALECTS[self._settings.server]
        self._connection = Connection(settings.id, url, self._settings)
        self._texts = Texts(settings.id, self._name, self._connection, self._settings)
        self._circuit = Circuit(self._settings.breaker_failures, self._settings.breaker_cooldown_s)
        self._job = Job(settings.id, self._settings, self._connection.probe)
        self._places = asyncio.Semaphore(self._settings.max_concurrent)
        self._whole = f"timeout_s is {self._settings.timeout_s:g}"
        self._stopped = False
        self._scopes: set[asyncio.Timeout] = set()  # of all that is being waited for
        self._running = 0
        self._waiting = 0
        self._last_failure = ""
        self._uncounted = False  # it has been said that this server does not count tokens

    async def start(self) -> None:
        self._stopped = False

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        self._check_kind("chat", "chat")
        if request.continuation:
            raise Unsupported(f"'{self._model}' runs elsewhere: it scores no given text.")
        path, body = generation(request, self._name, self._dialect)
        began = time.perf_counter()
        async with self._admitted() as deadline:
            admitted = time.perf_counter()
            reader = StreamReader(self._model, request.sampling.logprobs)
            kept: list[GenerateDelta] = []
            first: float | None = None
            async with aclosing(self._answer(path, body, reader, deadline)) as deltas:
                async for delta in deltas:
                    first = first or time.perf_counter()
                    if request.whole:
                        kept.append(delta)
                    else:
                        yield delta
            done = time.perf_counter()
            yield _last(kept, self._end(reader, body, (began, admitted, first or done, done)))

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self._check_kind("embedding", "embed")
        if not request.inputs:
            return EmbedResult(b"", self._texts.dimension or 0, ())
        return await self._call(lambda: self._texts.embed(request))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        self._check_kind("rerank", "rerank")
        if not request.documents:
            return RerankResult((), 0)
        return await self._call(lambda: self._texts.rerank(request))

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        return await self._call(lambda: self._texts.tokenize(request))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimated where the server has no /tokenize: rather too many than too few."""
        if self._dialect.tokenizer is None:
            return self._texts.estimates(texts)
        return await self._call(lambda: self._texts.count_tokens(texts))

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return await self._call(lambda: self._texts.detokenize(tokens))

    async def spell(self, tokens: Sequence[int]) -> list[bytes]:
        raise self._texts.unsupported("with_pieces", "tokens' own bytes")

    def stats(self) -> EngineStats:
        state, detail = self._state()
        return EngineStats(
            state=state,
            detail=detail,
            running=self._running,
            waiting=self._waiting,
            context=self._context,
            dimension=self._texts.dimension,
        )

    async def stop(self, deadline_s: float) -> None:
        self._stopped = True
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(0)  # its time is up
        await self._job.stop(deadline_s)
        await self._connection.close()

    def _check_kind(self, kind: str, verb: str) -> None:
        if self._kind != kind:
            message = f"The model '{self._model}' is of kind \"{self._kind}\"; it does not {verb}."
            raise Unsupported(message, "model")

    def _state(self) -> tuple[EngineState, str]:
        if self._stopped:
            return "stopped", "stopped"
        if self._job.state in ("starting", "stopping"):
            return "loading", self._job.detail
        if self._job.state == "asleep" and self._job.failure:
            return "failed", self._job.detail
        if self._circuit.state == "open":
            wait_s = self._circuit.wait_s
            return "failed", f"asked again in {wait_s:.0f} s (circuit open): {self._last_failure}"
        if self._circuit.state == "half-open":
            return "ready", f"the next request tries it (circuit half-open): {self._last_failure}"
        return "ready", self._connection.missing_key() or self._job.detail

    @asynccontextmanager
    async def _admitted(self) -> AsyncGenerator[float, None]:
        """A place among `max_concurrent`, and the server running. Gives the loop's time at which
        the request must be done. Raises QueueFull, LoadFailed, EngineUnavailable.
        """
        if self._stopped:
            raise _stopped(self._model)
        missing = self._connection.missing_key()
        if missing is not None:
            raise EngineUnavailable(missing)
        if self._places.locked() and self._waiting >= self._most_waiting:
            message = f"{self._waiting} requests already wait for the model '{self._model}'."
            raise QueueFull(message, 1.0 + self._waiting / self._settings.max_concurrent)
        self._waiting += 1
        try:
            async with self._until(None):
                await self._places.acquire()
        except Fault as fault:
            raise fault.error from fault
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            await self._begun()
            try:
                yield asyncio.get_running_loop().time() + self._settings.timeout_s
            finally:
                self._job.release()
        finally:
            self._running -= 1
            self._places.release()

    async def _begun(self) -> None:
        """The server runs; a start that failed counts as its failure."""
        if self._job.state == "running":
            await self._job.acquire()
            return
        self._admit()
        async with self._counted():
            await self._job.acquire()
        self._circuit.abandoned()  # what is asked next is the trial

    async def _again(self, deadline: float) -> float:
        """Before a repetition: a server that was lost is started. Gives the deadline after that."""
        if self._job.state == "running":
            return deadline
        clock = asyncio.get_running_loop().time
        began = clock()
        async with self._counted():
            await self._job.revive()
        return deadline + clock() - began

    @asynccontextmanager
    async def _counted(self) -> AsyncGenerator[None, None]:
        """A start, admitted by the circuit."""
        try:
            yield
        except LoadFailed as failure:
            self._count(failure)
            raise
        except BaseException:
            self._circuit.abandoned()
            raise

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of one request that is answered in one piece."""
        async with self._admitted() as deadline:
            for attempt in range(self._settings.retries + 1):
                self._admit()
                deadline = await self._again(deadline)
                try:
                    async with self._until(deadline, self._whole):
                        found = await ask()
                except BaseException as error:
                    await self._after(error, attempt, deadline)
                else:
                    self._circuit.succeeded()
                    return found
        raise AssertionError("the last attempt raises")

    async def _answer(
        self, path: str, body: dict[str, Any], reader: StreamReader, deadline: float
    ) -> AsyncGenerator[GenerateDelta, None]:
        """The pieces of an answer, of the first attempt that gives one."""
        for attempt in range(self._settings.retries + 1):
            self._admit()
            deadline = await self._again(deadline)
            reader.begin()
            said = False
            try:
                async with aclosing(self._connection.events(path, body)) as events:
                    first = self._first(deadline)
                    while True:
                        limit = (deadline, self._whole) if said else first
                        if reader.done:  # read to its very end, a connection can be used again
                            limit = (asyncio.get_running_loop().time() + LAST_BYTES_S, "")
                        async with self._until(*limit):
                            event = await anext(events, None)
                        if event is None:
                            break
                        delta = reader.read(event)
                        if delta is not None:
                            said = True
                            yield delta
                if reader.reason is None:
                    raise faults.broken(self._model, "it has no end")
            except BaseException as error:
                if reader.reason is not None and isinstance(error, Fault):
                    break  # the answer is complete; what is missing is its count
                await self._after(error, attempt, deadline, said=said)
            else:
                break
        self._circuit.succeeded()

    def _first(self, deadline: float) -> tuple[float, str]:
        """Until when the first piece must be there, and what that limit is called."""
        first_s = self._settings.first_token_timeout_s
        first = asyncio.get_running_loop().time() + first_s
        if first >= deadline:
            return deadline, self._whole
        return first, f"first_token_timeout_s is {first_s:g}"

    def _admit(self) -> None:
        if self._stopped:
            raise _stopped(self._model)
        if not self._circuit.admit():
            wait_s = max(1.0, self._circuit.wait_s)
            raise EngineUnavailable(
                f"The upstream server of model '{self._model}' failed repeatedly and is asked "
                f"again in {wait_s:.0f} s. {self._last_failure}",
                wait_s,
            )

    async def _after(
        self, error: BaseException, attempt: int, deadline: float, *, said: bool = False
    ) -> None:
        """Wait before the next attempt, or raise what this one failed with."""
        if not isinstance(error, Fault):
            self._circuit.abandoned()  # the client went, say: that tells nothing of the server
            raise error
        if error.theirs:
            self._count(error.error)
        else:
            self._circuit.succeeded()
        if error.lost:
            self._job.lost()
        if said and error.theirs:
            raise EngineCrashed(str(error)) from error
        wait_s = backoff(attempt, random.random())  # noqa: S311 - spreads, hides nothing
        wait_s = max(wait_s, error.wait_s or 0.0)
        late = asyncio.get_running_loop().time() + wait_s >= deadline
        last = said or late or wait_s > LONGEST_WAIT_S or attempt == self._settings.retries
        if last or not error.again:
            raise error.error from error
        log.info("%s: again in %.1f s: %s", self._model, wait_s, error)
        try:
            async with self._until(None):
                await asyncio.sleep(wait_s)
        except Fault as stopped:
            raise stopped.error from stopped

    @asynccontextmanager
    async def _until(self, when: float | None, limit: str = "") -> AsyncGenerator[None, None]:
        """Raises Fault at that time of the loop, or when the engine is stopped."""
        scope = asyncio.timeout_at(when)
        self._scopes.add(scope)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            if self._stopped:
                raise Fault(_stopped(self._model)) from error
            message = f"The upstream server of model '{self._model}' took too long ({limit})."
            raise Fault(EngineUnavailable(message), theirs=True) from error
        finally:
            self._scopes.discard(scope)

    def _count(self, error: ModelError) -> None:
        self._last_failure = str(error)
        self._circuit.failed()

    def _end(
        self, reader: StreamReader, body: dict[str, Any], times: tuple[float, float, float, float]
    ) -> GenerateEnd:
        if not reader.counted and not self._uncounted:
            self._uncounted = True
            log.warning("%s: the server sends no usage; tokens are estimated", self._model)
        prompt = body.get("messages", body.get("prompt"))
        usage = reader.usage(
            len(str(prompt).encode("utf-8", "replace")),
            self._settings.input_cost,
            self._settings.output_cost,
        )
        began, admitted, first, done = times
        assert reader.reason is not None
        return GenerateEnd(
            reader.reason,
            usage,
            Timings((admitted - began) * 1e3, (first - admitted) * 1e3, (done - first) * 1e3),
        )


def _stopped(model: str) -> EngineUnavailable:
    return EngineUnavailable(f"The model '{model}' is stopped.")


def _last(kept: Sequence[GenerateDelta], end: GenerateEnd) -> GenerateDelta:
    """The last delta: of a whole answer, all of it."""
    return GenerateDelta(
        "".join(delta.text for delta in kept),
        end,
        tuple(each for delta in kept for each in delta.logprobs),
        "".join(delta.reasoning for delta in kept),
        tuple(call for delta in kept for call in delta.calls),
    )
