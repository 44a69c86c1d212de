"""The continuous-batching loop: one step decodes for every running request."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import (
    ContextOverflow,
    InvalidRequest,
    LoadFailed,
    ModelError,
    QueueFull,
    Unsupported,
)
from models.types import (
    ChatPrompt,
    GenerateDelta,
    GenerateRequest,
    Prompt,
    TextPrompt,
    TokenizeRequest,
    TokenPrompt,
)
from models.worker import messages
from models.worker.answer_grammar import Shape
from models.worker.cores import CoreLock
from models.worker.llama import BATCH, Llama, Rows
from models.worker.output import Output
from models.worker.pace import Pace, Turnover
from models.worker.parked import ParkedPrefixes
from models.worker.prompts import Prompts
from models.worker.request import Request
from models.worker.scheduler import Piece, Preempted, Scheduler, Sequence
from models.worker.slots import Dropped, Placement, Slots
from models.worker.structured import Grammars, Matcher, parameter_of

__all__ = ["GenerationLoop"]

PROBE_ROWS = 4
COUNTED_AT_ONCE = 100_000  # characters: their tokens are counted in less than half a second
EVERYBODY = "*"  # the one scope of prefixes, where they are shared by all
COMPILE_S = 10.0  # a grammar that takes longer is refused
IDLE_S = 0.02  # between looks at the socket while only grammars are being compiled


@dataclass
class _Compiling:
    """A request on its way into the queue; it may wait for its grammar."""

    request: GenerateRequest
    tokens: list[int]
    shape: Shape | None
    grammar: "Future[Matcher] | None" = None
    since: float = field(default_factory=time.perf_counter)


class GenerationLoop:
    """Requests in, one Step message a step out. Knows nothing of sockets."""

    def __init__(
        self, spec: messages.WorkerSpec, send: Callable[[messages.FromWorker], None]
    ) -> None:
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
        )
        self._parked = ParkedPrefixes(spec.prefix_cache_mb * 1_000_000)
        self._global_scope = spec.prefix_scope == "global"
        slots = Slots(
            sequences,
            self._llama.kv_tokens,
            self._parked,
            share=self._llama.shares_prefixes,
            split=self._llama.split,
        )
        self._scheduler = Scheduler(slots, spec.parallel, BATCH, spec.max_waiting)
        self._pace = Pace()
        self._turnover = Turnover()
        self._compile_turnover = Turnover()
        self._told = (0, 0)  # the load that the gateway knows
        self._requests: dict[int, Request] = {}
        self._prompts = Prompts(self._llama, spec.chat_template)
        self._spelling = self._prompts.spelling()
        self._grammars = Grammars(
            self._llama.grammar_tokenizer, self._llama.segments, self._llama.vocabulary
        )
        self._compiling: dict[int, _Compiling] = {}

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
        return bool(self._requests or self._compiling)

    def probe(self) -> None:
        """Decode what serving will decode: a build that crashes on this processor does it now."""
        llama = self._llama
        batches = (
            [Rows(0, 0, [0, 0], True)],
            [Rows(0, 0, [0] * min(BATCH, llama.context), True)],
            [Rows(n, 0, [0], True) for n in range(min(PROBE_ROWS, self._scheduler.parallel))],
        )
        with self._cores:
            for batch in batches:
                llama.clear()
                begun = time.perf_counter()
                if llama.decode(batch) != 0:
                    raise LoadFailed("The model loads but cannot decode its first tokens.")
                llama.logits(len(batch)).sum()
                tokens, prefill = (sum(len(r.tokens) for r in batch), len(batch) == 1)
                elapsed_ms = (time.perf_counter() - begun) * 1000
                self._pace.observe(tokens, tokens if prefill else 0, elapsed_ms)
                if prefill:
                    self._parked.learn(tokens, len(llama.save(0)))
            llama.try_drawing()
            llama.clear()

    def generate(self, message: messages.Generate) -> None:
        """Queue a request; raises errors of models.errors."""
        self._submit(message.id, message.request)

    def embed(self, message: messages.Embed) -> None:
        """Refused: a chat model."""
        raise Unsupported("This is a chat model; it does not embed.", "model")

    def cancel(self, request_id: int) -> None:
        """Drop a request between steps."""
        self._compiling.pop(request_id, None)
        request = self._requests.pop(request_id, None)
        if request is not None:
            self._drop(self._scheduler.remove(request.sequence))
            self._told = self.load
            self._send(messages.Step((), *self.load))  # nobody else may be left to tell it

    def tokenize(self, request: TokenizeRequest) -> list[int]:
        """Ids of a chat as it would be decoded, or of a text."""
        if isinstance(request.prompt, ChatPrompt):
            return self._prompts.tokenize(request.prompt)
        return self._llama.tokenize(
            request.prompt.text,
            add_special=request.add_special,
            parse_special=request.parse_special,
        )

    def detokenize(self, tokens: tuple[int, ...], special: bool) -> str:
        """Text of ids; `special` spells control tokens out."""
        pieces = self.spell(tokens) if special else map(self._llama.piece, self._checked(tokens))
        return b"".join(pieces).decode("utf-8", "replace")

    def spell(self, tokens: tuple[int, ...]) -> tuple[bytes, ...]:
        """Each token's bytes, control tokens' too."""
        return tuple(map(self._llama.special_piece, self._checked(tokens)))

    def _checked(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        for token in tokens:
            if not 0 <= token < self._llama.vocabulary:
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "tokens")
        return tokens

    def step(self) -> None:
        """Admit, decode one batch, sample, report."""
        self._submit_compiled()
        for event in self._scheduler.admit():
            if isinstance(event, Preempted):
                self._drop(event.dropped)
            else:
                self._requests[event.sequence.id].placed()
                self._place(event.sequence, event.placement)
        pieces = self._plan()
        if not pieces:
            if self._compiling:
                under_way = [each.grammar for each in self._compiling.values() if each.grammar]
                wait(under_way, IDLE_S, FIRST_COMPLETED)
            return
        if not self._decode(pieces):
            return
        self._scheduler.done(pieces)
        wanted = [piece for piece in pieces if piece.logits]
        requests = [self._requests[piece.sequence.id] for piece in wanted]
        self._sample(requests)
        self._report([piece.sequence.id for piece in wanted])

    def _sample(self, requests: list[Request]) -> None:
        """A token for each, in the order of the batch's rows."""
        seen = any(request.recipe is None for request in requests)
        logits = self._llama.logits(len(requests)) if seen else None
        for row, request in enumerate(requests):
            if request.recipe is not None:
                request.take(self._llama.drawn(row))
            elif logits is not None:
                request.sample(logits[row])

    def _submit(self, request_id: int, request: GenerateRequest) -> None:
        self._check_size(request.prompt)
        rendered = self._prompts.render(request.prompt)
        self._check(request, rendered.tokens)
        waiting = _Compiling(request, rendered.tokens, self._prompts.shape(request, rendered))
        if request.constraint is None and request.tool_use is None:
            self._enqueue(request_id, waiting, None)
            return
        owners = (each.request.owner for each in self._compiling.values())
        if len(self._compiling) >= self._scheduler.max_waiting and request.owner in owners:
            raise self._too_many_grammars()
        waiting.grammar = self._grammars.compile(request.constraint, waiting.shape)
        self._compiling[request_id] = waiting

    def _check(self, request: GenerateRequest, tokens: list[int]) -> None:
        """Sizes; raises InvalidRequest."""
        if not tokens:
            raise InvalidRequest("The prompt is empty.", _param(request.prompt))
        if len(tokens) >= self._llama.context:
            raise self._overflow(len(tokens), "", request.prompt)
        for token, _ in request.sampling.logit_bias:
            if token >= self._llama.vocabulary:
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "logit_bias")

    def _check_size(self, prompt: Prompt) -> None:
        """Refuse by its size what is far too long: running streams would wait for the count."""
        if isinstance(prompt, TokenPrompt):
            return
        texts = [prompt.text] if isinstance(prompt, TextPrompt) else prompt.messages
        size = sum(len(each if isinstance(each, str) else each.content) for each in texts)
        if size >= COUNTED_AT_ONCE and size // self._llama.longest_piece >= self._llama.context:
            raise self._overflow(size // self._llama.longest_piece, "at least ", prompt)

    def _overflow(self, tokens: int, at_least: str, prompt: Prompt) -> ContextOverflow:
        context = self._llama.context
        return ContextOverflow(
            f"The prompt has {at_least}{tokens} tokens; this model's context holds {context}, "
            "and the answer needs room too. Shorten it.",
            tokens,
            context,
            _param(prompt),
        )

    def _submit_compiled(self) -> None:
        for request_id, waiting in list(self._compiling.items()):
            assert waiting.grammar is not None
            late = self._grammars.waited_s(waiting.since) > COMPILE_S
            if not waiting.grammar.done() and not late:
                continue
            del self._compiling[request_id]
            try:
                if not waiting.grammar.done():
                    param = parameter_of(waiting.request.constraint)
                    message = f"'{param}' takes longer than {COMPILE_S:.0f} s to compile."
                    raise InvalidRequest(message, param)
                self._compile_turnover.observe(time.perf_counter() - waiting.since)
                self._enqueue(request_id, waiting, waiting.grammar.result().copy())
            except ModelError as error:
                self._send(messages.failure(request_id, error))

    def _enqueue(self, request_id: int, waiting: "_Compiling", matcher: Matcher | None) -> None:
        request, tokens = waiting.request, waiting.tokens
        sequence = Sequence(
            request_id,
            request.owner,
            tokens,
            len(tokens),
            flex=request.flex,
            scope=EVERYBODY if self._global_scope else request.owner,
            alone=request.deterministic,
        )
        output = Output(request.stop, None if waiting.shape is None else waiting.shape.parser())
        vocabulary = self._llama if waiting.shape is None else self._spelling
        made = Request.of(
            request,
            sequence,
            vocabulary,
            self._llama.context,
            output,
            matcher,
            model_draws=self._llama.draws,
        )
        if not self._scheduler.submit(sequence):
            raise self._queue_full(flex=request.flex)
        self._requests[request_id] = made

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

    def _too_many_grammars(self) -> QueueFull:
        count = len(self._compiling)
        age_s = time.perf_counter() - min(each.since for each in self._compiling.values())
        # What each took includes its wait for the others: one such time from now all are done.
        retry_after_s = self._compile_turnover.retry_after_s(count, count, age_s)
        return QueueFull(
            f"{count} requests already wait for their grammars. "
            f"Come back in {retry_after_s:.0f} s.",
            retry_after_s,
        )

    def _plan(self) -> list[Piece]:
        """A step that fits the cache: idle prefixes give way first, then running requests."""
        while True:
            pieces = self._scheduler.plan(self._pace.budget(BATCH))
            shortage = self._scheduler.shortage(pieces)
            if not shortage:
                # A split cache decodes neighbouring sequences together, in their order.
                return sorted(pieces, key=lambda piece: piece.sequence.slot or 0)
            self._drop(self._scheduler.make_room(sum(len(piece.tokens) for piece in pieces)))
            if self._scheduler.shortage(pieces):
                preempted = self._scheduler.preempt()
                if preempted is None:
                    self._fail_all(ModelError("The KV cache is too small for one request."))
                    return []
                self._drop(preempted.dropped)

    def _decode(self, pieces: list[Piece]) -> bool:
        rows: list[Rows] = []
        for piece in pieces:
            assert piece.sequence.slot is not None
            rows.append(Rows(piece.sequence.slot, piece.start, piece.tokens, piece.logits))
        with self._cores:
            begun = time.perf_counter()
            status = self._llama.decode(rows)
            self._llama.wait()  # a GPU works on; the time is to be the step's
            elapsed_ms = (time.perf_counter() - begun) * 1000
        if status == 0:
            total = sum(len(piece.tokens) for piece in pieces)
            prefill = sum(len(p.tokens) for p in pieces if not p.sequence.streaming)
            self._pace.observe(total, prefill, elapsed_ms)
            return True
        if status == 1:
            # Our count of cells says there is room and llama.cpp finds none: start over with fewer.
            self._drop(self._scheduler.make_room(self._llama.kv_tokens))
            preempted = self._scheduler.preempt()
            if preempted is not None:
                self._drop(preempted.dropped)
                return False
        self._fail_all(ModelError(f"llama.cpp could not decode a step (status {status})."))
        return False

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
                self._parked.add(each.tokens, each.scope, self._llama.save(each.slot))
            self._llama.cut(each.slot, 0)

    def _report(self, ids: list[int]) -> None:
        deltas: list[tuple[int, GenerateDelta]] = []
        for request_id in ids:
            request = self._requests[request_id]
            if request.error is not None:
                del self._requests[request_id]
                self._drop(self._scheduler.remove(request.sequence))
                self._send(messages.failure(request_id, request.error))
                continue
            delta = request.delta()
            if request.reason is not None:
                del self._requests[request_id]
                self._turnover.observe(time.perf_counter() - request.placed_at)
                self._drop(self._scheduler.remove(request.sequence))
            if delta is not None:
                deltas.append((request_id, delta))
        if deltas or self.load != self._told:
            self._told = self.load
            self._send(messages.Step(tuple(deltas), *self.load))

    @property
    def load(self) -> tuple[int, int]:
        """Requests running and waiting."""
        return len(self._scheduler.running), len(self._scheduler.waiting)

    def _fail_all(self, error: ModelError) -> None:
        """Nothing of the cache can be trusted: every running request fails, the waiting stay."""
        for sequence in list(self._scheduler.running):
            self._scheduler.remove(sequence, keep=False)
            del self._requests[sequence.id]
            self._send(messages.failure(sequence.id, error))
        self._scheduler.slots.clear()
        self._llama.clear()


def _param(prompt: Prompt) -> str:
    """What a request calls it."""
    return "messages" if isinstance(prompt, ChatPrompt) else "prompt"
