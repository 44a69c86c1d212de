"""A model in a worker process on this machine: started, watched, restarted, stopped."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.engines.trials import Trials
from models.errors import EngineCrashed, EngineUnavailable, LoadFailed, ModelError, SourceError
from models.gguf_file import check_headers
from models.types import (
    EmbedRequest,
    EmbedResult,
    EngineState,
    EngineStats,
    GenerateDelta,
    GenerateRequest,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
)
from models.worker import messages
from models.worker.process import Death, WorkerProcess

__all__ = ["LocalEngine"]

log = logging.getLogger(__name__)

# Signals of native code that this processor or this build cannot run.
NATIVE_FAULTS = {"SIGSEGV", "SIGILL", "SIGBUS", "SIGABRT", "SIGFPE"}
LOAD_WAIT_S = 120.0  # a request waits this long for a model that is loading
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
CRASHES_ALLOWED = 5  # in a row, each within HEALTHY_S of being ready
HEALTHY_S = 60.0


@dataclass
class _Pending:
    """Someone waits for what the worker says about a request."""

    queue: "asyncio.Queue[GenerateDelta | messages.FromWorker | ModelError]"


class LocalEngine:
    """One model, at most one worker process at a time. See `models.engine.Engine`.

    A worker that dies of a native fault before it is ready is started once more in safe mode; one
    that dies later is restarted with back-off, and after repeated crashes given up with its log:
    then `on_give_up` is called.
    """

    def __init__(
        self,
        spec: messages.WorkerSpec,
        folder: Path,
        trials: Trials,
        on_give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._on_give_up = on_give_up
        self._folder = folder
        self._trials = trials
        self._safe_mode = spec.runs_llama and trials.safe_mode_needed()
        self._state: EngineState = "unloaded"
        self._detail = ""
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._worker: WorkerProcess | None = None
        self._settled = asyncio.Event()  # set when neither loading nor waiting to restart
        self._ready: messages.Ready | None = None
        self._ready_at = 0.0
        self._crashes = 0
        self._restarts = 0
        self._load = (0, 0)
        self._failure: LoadFailed | None = None
        self._faulted: str | None = None  # how the load without safe mode died
        self._restart: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._state in ("unloaded", "stopped", "failed"):
            self._crashes = 0
            await self._spawn()
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        if self._state != "ready":
            raise EngineUnavailable(f"The model '{self._spec.model}' was stopped while loading.")

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        await self._until_ready()
        request_id, pending = self._open()
        done = False
        try:
            self._send(messages.Generate(request_id, request))
            while not done:
                delta = await _next(pending)
                assert isinstance(delta, GenerateDelta)
                done = delta.end is not None
                yield delta
        except ModelError:
            done = True  # the worker knows no more of it
            raise
        finally:
            self._close(request_id, cancel=not done)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        message = await self._ask(lambda request_id: messages.Embed(request_id, request))
        assert isinstance(message, messages.Embedded)
        return message.result

    async def rerank(self, request: RerankRequest) -> RerankResult:
        message = await self._ask(lambda request_id: messages.Rerank(request_id, request))
        assert isinstance(message, messages.Reranked)
        return message.result

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        message = await self._ask(lambda request_id: messages.Tokenize(request_id, request))
        assert isinstance(message, messages.Tokens)
        return list(message.tokens)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        asked = tuple(texts)
        message = await self._ask(lambda request_id: messages.CountTokens(request_id, asked))
        assert isinstance(message, messages.Counts)
        return list(message.counts)

    async def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        message = await self._ask(
            lambda request_id: messages.Detokenize(request_id, tuple(tokens), special)
        )
        assert isinstance(message, messages.Text)
        return message.text

    async def spell(self, tokens: Sequence[int]) -> list[bytes]:
        message = await self._ask(lambda request_id: messages.Spell(request_id, tuple(tokens)))
        assert isinstance(message, messages.Pieces)
        return list(message.pieces)

    def stats(self) -> EngineStats:
        return EngineStats(
            state=self._state,
            detail=self._detail,
            running=self._load[0],
            waiting=self._load[1],
            context=None if self._ready is None else self._ready.context,
            dimension=None if self._ready is None else self._ready.dimension,
            safe_mode=self._safe_mode,
            restarts=self._restarts,
            pid=None if self._worker is None else self._worker.pid,
            log_tail="" if self._failure is None else self._failure.log_tail,
        )

    async def stop(self, deadline_s: float) -> None:
        # A worker that is loading reads no messages and has nothing to lose: it is killed.
        patience_s = deadline_s if self._state == "ready" else 0.0
        self._set_state("stopped", "stopped")
        self._fail_pending(EngineUnavailable(f"The model '{self._spec.model}' is being stopped."))
        if self._restart is not None:
            self._restart.cancel()
            # Waited for, so that a process that was just being spawned has ended too.
            await asyncio.gather(self._restart, return_exceptions=True)
        worker = self._worker
        if worker is not None:
            await worker.stop(patience_s)
            self._worker = None  # not before: if this is cancelled, the next stop goes on

    async def _spawn(self) -> None:
        self._failure = None
        mode = " in safe mode" if self._safe_mode else ""
        self._set_state("loading", f"loading{mode}")
        if self._spec.runs_llama:
            try:  # a damaged header has llama.cpp take all the memory there is, or no end
                await asyncio.to_thread(check_headers, Path(self._spec.path))
            except SourceError as error:
                self._give_up(
                    LoadFailed(f"The model '{self._spec.model}' could not be loaded: {error}")
                )
                return
        spec = self._moded()
        spec = msgspec.structs.replace(spec, trial=self._trials.of(spec))
        worker = WorkerProcess(spec, self._folder, self._on_message, self._on_death)
        self._worker = worker
        try:
            await worker.start()
        except Exception as error:
            self._worker = None
            self._give_up(
                LoadFailed(f"The worker of model '{self._spec.model}' cannot be started: {error}")
            )

    def _moded(self) -> messages.WorkerSpec:
        return msgspec.structs.replace(self._spec, safe_mode=self._safe_mode)

    def _on_message(self, message: messages.FromWorker) -> None:
        if self._state == "stopped":
            return  # a Ready sent while we were stopping must not bring the engine back
        match message:
            case messages.Step(deltas=deltas, running=running, waiting=waiting):
                self._load = (running, waiting)
                for request_id, delta in deltas:
                    pending = self._pending.get(request_id)
                    if pending is not None:
                        pending.queue.put_nowait(delta)
            case messages.Ready():
                self._on_ready(message)
            case messages.LoadFailure(message=reason):
                self._failure = LoadFailed(
                    f"The model '{self._spec.model}' could not be loaded: {reason}"
                )
            case messages.Failed(id=request_id):
                pending = self._pending.get(request_id)
                if pending is not None:
                    pending.queue.put_nowait(messages.error_of(message))
            case _:
                pending = self._pending.get(message.id)
                if pending is not None:
                    pending.queue.put_nowait(message)

    def _on_ready(self, ready: messages.Ready) -> None:
        self._ready, self._ready_at = ready, time.monotonic()
        self._set_state("ready", "safe mode: slower, but it runs here" if self._safe_mode else "")
        if self._faulted is not None:
            self._trials.need_safe_mode(self._faulted)
            self._faulted = None
        if ready.trial is not None:
            self._trials.passed(self._moded(), ready.trial)
        log.info("%s is ready%s", self._spec.model, " in safe mode" if self._safe_mode else "")

    def _on_death(self, death: Death) -> None:
        if self._state == "stopped":
            return
        name = self._spec.model
        self._worker, self._load = None, (0, 0)
        self._fail_pending(
            EngineCrashed(
                f"The worker of model '{name}' ended ({death}) while it had this request."
            )
        )
        if _native_fault(death, self._spec):
            self._trials.forget(self._moded())  # the next load is tried, whatever was known
        if self._failure is not None:  # it said why itself
            self._give_up(self._failure)
        elif self._state == "loading" and not self._safe_mode and _native_fault(death, self._spec):
            log.warning(
                "%s: llama.cpp died of %s while being tried; once more in safe mode", name, death
            )
            self._faulted, self._safe_mode = str(death), True
            self._restart = asyncio.create_task(self._spawn())
        else:
            self._after_crash(death)

    def _after_crash(self, death: Death) -> None:
        healthy = self._state == "ready" and time.monotonic() - self._ready_at > HEALTHY_S
        self._crashes = 1 if healthy else self._crashes + 1
        if self._crashes >= CRASHES_ALLOWED:
            self._give_up(
                LoadFailed(
                    f"The worker of model '{self._spec.model}' ended {self._crashes} times in a "
                    f"row, last with {death}.",
                    death.log_tail,
                )
            )
            return
        wait_s = min(FIRST_BACKOFF_S * 2 ** (self._crashes - 1), LONGEST_BACKOFF_S)
        log.error("%s: worker ended (%s); again in %.1f s", self._spec.model, death, wait_s)
        self._set_state("loading", f"restarting: the worker ended ({death})")
        self._restart = asyncio.create_task(self._respawn(wait_s))

    async def _respawn(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        self._restarts += 1
        await self._spawn()

    def _give_up(self, failure: LoadFailed) -> None:
        self._failure = failure
        self._set_state("failed", str(failure))
        self._on_give_up()

    def _set_state(self, state: EngineState, detail: str) -> None:
        self._state, self._detail = state, detail
        if state == "loading":
            self._settled.clear()
        else:
            self._settled.set()

    async def _until_ready(self) -> None:
        if self._state == "unloaded":
            await self.start()
        if self._state == "loading":
            try:
                await asyncio.wait_for(self._settled.wait(), LOAD_WAIT_S)
            except TimeoutError:
                raise EngineUnavailable(
                    f"The model '{self._spec.model}' is still loading.", retry_after_s=5
                ) from None
        if self._state != "ready":
            raise EngineUnavailable(
                self._detail
                if self._failure
                else f"The model '{self._spec.model}' is {self._state}."
            )

    async def _ask(
        self, message: Callable[[int], messages.ToWorker]
    ) -> GenerateDelta | messages.FromWorker:
        await self._until_ready()
        request_id, pending = self._open()
        done = False
        try:
            self._send(message(request_id))
            answer = await _next(pending)
            done = True
            return answer
        finally:
            self._close(request_id, cancel=not done)

    def _send(self, message: messages.ToWorker) -> None:
        assert self._worker is not None
        self._worker.send(message)

    def _open(self) -> tuple[int, _Pending]:
        request_id = next(self._ids)
        pending = self._pending[request_id] = _Pending(asyncio.Queue())
        return request_id, pending

    def _close(self, request_id: int, *, cancel: bool) -> None:
        self._pending.pop(request_id, None)
        if cancel and self._worker is not None:
            self._worker.send(messages.Cancel(request_id))

    def _fail_pending(self, error: ModelError) -> None:
        for pending in self._pending.values():
            pending.queue.put_nowait(error)


async def _next(pending: _Pending) -> GenerateDelta | messages.FromWorker:
    message = await pending.queue.get()
    if isinstance(message, ModelError):
        raise message
    return message


def _native_fault(death: Death, spec: messages.WorkerSpec) -> bool:
    return spec.runs_llama and str(death).removeprefix("signal ") in NATIVE_FAULTS
