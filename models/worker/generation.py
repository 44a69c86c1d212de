"""The continuous-batching loop: one step decodes for every running request."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from models.errors import LoadFailed, ModelError, QueueFull, Unsupported
from models.types import GenerateDelta, TokenizeRequest
from models.worker import messages
from models.worker.cores import CoreLock
from models.worker.faults import as_model_error
from models.worker.intake import Intake
from models.worker.llama import BATCH, Llama, Rows
from models.worker.llama_loading import Weights
from models.worker.messages import Trial
from models.worker.pace import Pace, Turnover
from models.worker.parked import ParkedPrefixes
from models.worker.prompts import Prompts
from models.worker.reading import Reading
from models.worker.request import Request
from models.worker.scheduler import Piece, Preempted, Scheduler, Sequence
from models.worker.slots import Dropped, Placement, Slots

__all__ = ["GenerationLoop"]

PROBE_ROWS = 4
PROBE_TOKENS = 64  # from here on attention works in tiles; a whole batch would take seconds
IDLE_S = 0.02  # between looks at the socket while only grammars are being compiled


class GenerationLoop:
    """Requests in, one Step message a step out. Knows nothing of sockets."""

    def __init__(
        self,
        spec: messages.WorkerSpec,
        send: Callable[[messages.FromWorker], None],
        weights: Weights | None = None,
    ) -> None:
        self._spec = spec
        self._send = send
        self._cores = CoreLock(spec.core_lock)
        # One more may hold a finished prompt, where that takes no cells of its own.
        split = spec.kv == "split"
        sequences = spec.parallel + (not split)
        self._llama = Llama(
            Path(spec.path),
            context=spec.context,
            kv_tokens=spec.kv_tokens,
            sequences=sequences,
            threads=spec.threads,
            gpu_layers=spec.gpu_layers,
            safe_mode=spec.safe_mode,
            split=split,
            share_prefixes=spec.share_prefixes,
            backend_sampling=spec.backend_sampling,
            kv_type=spec.kv_type,
            tensor_split=spec.tensor_split,
            lora=spec.lora,
            weights=weights,
        )
        self._parked = ParkedPrefixes(spec.prefix_cache_mb * 1_000_000)
        slots = Slots(
            sequences,
            self._llama.kv_tokens,
            self._parked,
            share=self._llama.shares_prefixes,
            split=self._llama.split,
        )
        self._scheduler = Scheduler(slots, spec.parallel, BATCH, spec.max_waiting)
        self._reading = Reading(
            self._llama, self._scheduler, self._parked, self._cores, spec.threads
        )
        self._pace = Pace()
        self._turnover = Turnover()
        self._told = (0, 0)  # the load that the gateway knows
        self._requests: dict[int, Request] = {}
        self._prompts = Prompts(self._llama, spec.chat_template, spec.model)
        shared = spec.prefix_scope == "global"
        self._intake = Intake(self._llama, self._prompts, spec.max_waiting, global_scope=shared)

    @property
    def context(self) -> int:
        """Tokens one request may use."""
        return self._llama.context

    @property
    def dimension(self) -> None:
        """Of its vectors: it makes none."""
        return

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._requests) or self._intake.busy or self._reading.under_way

    def probe(self) -> Trial:
        """Decode what serving will decode: a build that crashes on this processor does it now.

        What an earlier load of the same has shown is not shown again; two tokens always are.
        """
        with self._cores:
            self._try([Rows(0, 0, [0, 0], True)])
            trial = self._spec.trial or self._measure()
            self._llama.try_drawing()
            self._llama.clear()
        self._pace.observe(trial.tokens, trial.tokens, trial.prompt_ms)
        self._pace.observe(1, 0, trial.step_ms)
        self._parked.learn(trial.tokens, trial.state_bytes)
        self._reading.learn(trial.state_bytes / trial.tokens)
        return trial

    def _measure(self) -> Trial:
        self._llama.clear()
        tokens = min(PROBE_TOKENS, BATCH, self._llama.context)
        prompt_ms = self._try([Rows(0, 0, [0] * tokens, True)])
        state_bytes = len(self._llama.save(0))
        rows = min(PROBE_ROWS, self._scheduler.parallel)
        self._llama.clear()
        step_ms = self._try([Rows(n, 0, [0], True) for n in range(rows)])
        return Trial(tokens, prompt_ms, state_bytes, step_ms)

    def _try(self, batch: list[Rows]) -> float:
        """Milliseconds of it. Raises LoadFailed."""
        begun = time.perf_counter()
        if self._llama.decode(batch) != 0:
            raise LoadFailed("The model loads but cannot decode its first tokens.")
        self._llama.logits(len(batch)).sum()
        return (time.perf_counter() - begun) * 1000

    def generate(self, message: messages.Generate) -> None:
        """Queue a request; raises errors of models.errors."""
        request = self._intake.take(message.id, message.request)
        if request is not None:
            self._enqueue(request)

    def embed(self, message: messages.Embed) -> None:
        """Refused: a chat model."""
        raise Unsupported("This is a chat model; it does not embed.", "model")

    def rerank(self, message: messages.Rerank) -> None:
        """Refused: a chat model."""
        raise Unsupported("This is a chat model; it does not rerank.", "model")

    def cancel(self, request_id: int) -> None:
        """Drop a request between steps."""
        self._intake.cancel(request_id)
        request = self._requests.pop(request_id, None)
        if request is not None:
            self._drop(self._scheduler.remove(request.sequence))
            self._tell()

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a chat as it would be decoded, or of a text; raises InvalidRequest."""
        return self._prompts.tokenize(request)

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str:
        """Text of ids; `special` spells control tokens out. Raises InvalidRequest."""
        return self._prompts.detokenize(tokens, special=special)

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]:
        """Each token's bytes, control tokens' too. Raises InvalidRequest."""
        return self._prompts.spell(tokens)

    def step(self) -> None:
        """Admit, decode one batch, sample, report; long prompts are read beside that."""
        self._enqueue_compiled()
        self._reading.collect(self._pace)
        self._bring()
        for event in self._scheduler.admit():
            if isinstance(event, Preempted):
                self._interrupt(event)
            else:
                self._begin(event.sequence, event.placement)
        self._bring()
        beside = any(not each.unread for each in self._scheduler.running)
        self._reading.start(self._pace.budget(BATCH), beside=beside)
        pieces = self._plan()
        if not pieces:
            self._tell()
            if self._reading.under_way:
                self._reading.wait(IDLE_S)
            elif self._intake.busy:
                self._intake.wait(IDLE_S)
            return
        if not self._decode(pieces):
            return
        self._scheduler.done(pieces)
        wanted = [piece for piece in pieces if piece.logits]
        self._sample(wanted)
        self._report([piece.sequence.id for piece in wanted])

    def _sample(self, pieces: list[Piece]) -> None:
        """A token for each, in the order of the batch's rows; or the scores of those given."""
        requests = [self._requests[piece.sequence.id] for piece in pieces]
        seen = any(request.recipe is None for request in requests)
        rows = sum(piece.logits for piece in pieces)
        logits = self._llama.logits(rows) if seen else None
        row = 0
        for piece, request in zip(pieces, requests, strict=True):
            if request.recipe is not None:
                request.take(partial(self._llama.drawn, row))
            elif logits is not None and request.continuation is not None:
                end = piece.start + len(piece.tokens)
                request.score(end - piece.logits, logits[row : row + piece.logits])
            elif logits is not None:
                request.sample(logits[row])
            row += piece.logits

    def _enqueue(self, request: Request) -> None:
        if not self._scheduler.submit(request.sequence):
            raise self._queue_full(flex=request.sequence.flex)
        self._requests[request.sequence.id] = request

    def _enqueue_compiled(self) -> None:
        for request_id, found in self._intake.compiled():
            try:
                if isinstance(found, ModelError):
                    raise found
                self._enqueue(found)
            except ModelError as error:
                self._send(messages.failure(request_id, error))

    def _queue_full(self, *, flex: bool) -> QueueFull:
        ahead, running = self._scheduler.ahead(flex=flex), self._scheduler.running
        oldest = min((self._requests[s.id].placed_at for s in running), default=0.0)
        age_s = time.perf_counter() - oldest if oldest else 0.0
        retry_after_s = self._turnover.retry_after_s(ahead, len(running), age_s)
        tier = " of service tier flex" if flex else ""
        return QueueFull(
            f"{ahead} requests are already waiting for this model, which is all it takes{tier}. "
            f"Come back in {retry_after_s:.0f} s.",
            retry_after_s,
        )

    def _plan(self) -> list[Piece]:
        """A step that fits the cache: idle prefixes give way first, then running requests."""
        while True:
            pieces = self._scheduler.plan(self._pace.budget(BATCH))
            # A split cache decodes neighbouring sequences together, in their order.
            pieces.sort(key=lambda piece: piece.sequence.slot or 0)
            if self._has_room(sum(len(piece.tokens) for piece in pieces)):
                return pieces

    def _bring(self) -> None:
        """What was read apart moves into the cache that the steps decode in."""
        while (sequence := self._reading.to_bring()) is not None:
            if self._has_room(sequence.read - sequence.past):
                self._reading.bring(sequence)

    def _has_room(self, cells: int) -> bool:
        """Whether so many cells are free. If not, somebody has given way; ask again."""
        slots = self._scheduler.slots
        self._drop(self._scheduler.make_room(cells))
        if cells <= slots.free_cells:
            return True
        preempted = self._scheduler.preempt()
        if preempted is None:
            self._fail_all(ModelError("The KV cache is too small for one request."))
        else:
            self._interrupt(preempted)
        return False

    def _decode(self, pieces: list[Piece]) -> bool:
        rows: list[Rows] = []
        for piece in pieces:
            assert piece.sequence.slot is not None
            rows.append(Rows(piece.sequence.slot, piece.start, piece.tokens, piece.logits))
        with self._cores:
            # Pieces that were begun when there was nothing else to do have all the cores; and what
            # is deterministic computes with as many each time.
            most = 0 if pieces[0].sequence.alone else self._spec.threads - 1
            while (beside := self._reading.threads) > most:
                self._reading.wait()
            self._llama.use_threads(self._spec.threads - beside)
            begun = time.perf_counter()
            status = self._llama.decode(rows)
            self._llama.wait()  # a GPU works on; the time is to be the step's
            elapsed_ms = (time.perf_counter() - begun) * 1000
        if status == 0:
            total = sum(len(piece.tokens) for piece in pieces)
            prefill = sum(len(p.tokens) for p in pieces if not p.sequence.streaming)
            if not beside:
                self._pace.observe(total, prefill, elapsed_ms)
            return True
        if status == 1:
            # Our count of cells says there is room and llama.cpp finds none: start over with fewer.
            idle = self._scheduler.make_room(self._llama.kv_tokens)
            self._drop(idle)
            preempted = None if idle else self._scheduler.preempt()
            if preempted is not None:
                self._interrupt(preempted)
            if idle or preempted is not None:
                return False
        self._fail_all(ModelError(f"llama.cpp could not decode a step (status {status})."))
        return False

    def _begin(self, sequence: Sequence, placement: Placement) -> None:
        request = self._requests[sequence.id]
        request.placed()
        try:
            self._place(sequence, placement)
        except BaseException as error:
            request.error = as_model_error(error)
            self._fail(request)
            self._llama.cut(placement.slot, 0)  # whatever of it was there already

    def _interrupt(self, preempted: Preempted) -> None:
        self._requests[preempted.sequence.id].interrupted()
        self._drop(preempted.dropped)

    def _place(self, sequence: Sequence, placement: Placement) -> None:
        llama, slot, keep = self._llama, placement.slot, placement.keep
        self._drop(placement.drop)
        llama.draw_by(slot, self._requests[sequence.id].recipe)
        if sequence.alone:
            llama.clear()  # where its cells lie is then the same every time
            return
        if placement.source is not None:
            placed = llama.share(placement.source, slot, keep)
        elif placement.restore is not None:
            placed = llama.restore(slot, placement.restore.state, keep)
        else:
            placed = llama.cut(slot, keep)
        if not placed:
            # llama.cpp found no adjacent cells for it, or a sliding window has dropped some:
            # neither is seen by our count of cells.
            self._scheduler.restart(sequence)

    def _drop(self, dropped: Iterable[Dropped]) -> None:
        for each in dropped:
            length = len(each.tokens)
            if (
                each.park
                and self._parked.wants(each.tokens, each.scope)
                and self._llama.holds(each.slot, length)
            ):
                with suppress(MemoryError):  # what is not parked is computed again
                    self._parked.add(each.tokens, each.scope, self._llama.save(each.slot))
            self._llama.cut(each.slot, 0)

    def _report(self, ids: list[int]) -> None:
        deltas: list[tuple[int, GenerateDelta]] = []
        dropped: list[Dropped] = []
        for request_id in ids:
            request = self._requests[request_id]
            delta = request.delta()
            if request.error is not None:
                self._fail(request)
                continue
            if request.reason is not None:
                del self._requests[request_id]
                self._turnover.observe(time.perf_counter() - request.placed_at)
                dropped += self._scheduler.remove(request.sequence)
            if delta is not None:
                deltas.append((request_id, delta))
        self._tell(tuple(deltas))
        self._drop(dropped)  # to park them takes milliseconds that no answer need wait for

    def _tell(self, deltas: tuple[tuple[int, GenerateDelta], ...] = ()) -> None:
        """What there is to send, and the load, if that has changed."""
        if deltas or self.load != self._told:
            self._told = self.load
            self._send(messages.Step(deltas, *self.load))

    @property
    def load(self) -> tuple[int, int]:
        """Requests running and waiting."""
        return len(self._scheduler.running), len(self._scheduler.waiting)

    def _fail(self, request: Request) -> None:
        """One request ends in its error; what it made in the cache may be at fault and goes."""
        assert request.error is not None
        del self._requests[request.sequence.id]
        for each in self._scheduler.remove(request.sequence, keep=False):
            self._llama.cut(each.slot, 0)
        self._send(messages.failure(request.sequence.id, request.error))

    def _fail_all(self, error: ModelError) -> None:
        """Nothing of the cache can be trusted: every running request fails, the waiting stay."""
        for sequence in list(self._scheduler.running):
            self._scheduler.remove(sequence, keep=False)
            del self._requests[sequence.id]
            self._send(messages.failure(sequence.id, error))
        self._scheduler.slots.clear()
        self._llama.clear()
        self._tell()  # no step may follow
