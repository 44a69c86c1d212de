"""One round of the generation loop, and the same work as a bare loop over llama_decode."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError
from models.types import Constraint, GenerateRequest, Sampling, TokenPrompt
from models.worker import messages
from models.worker.generation import GenerationLoop
from models.worker.llama import BATCH, Llama, Rows
from models.worker.native_time import NativeTime

__all__ = ["LoopRunner", "Round", "bare_round", "open_bare", "prompts_of"]

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Round:
    """Times in seconds. While decoding, every step makes one token for each sequence."""

    first: float  # until every sequence has its first token
    whole: float  # until the last token
    decode: float  # of the steps in which all sequences ran
    decode_tokens: int
    tokens: int
    native: float = 0.0  # of `decode`, in llama.cpp and llguidance; 0 where it was not timed


class LoopRunner:
    """A GenerationLoop and the messages it sends, encoded as for the gateway but not sent."""

    def __init__(self, spec: messages.WorkerSpec) -> None:
        self._loop = GenerationLoop(spec, self._receive)
        self._loop.probe()
        self._ids = 0
        self._begun: set[int] = set()
        self._ended: dict[int, int] = {}  # tokens of each answer

    def round(
        self,
        prompts: Prompts,
        tokens: int,
        sampling: Sampling,
        constraint: Constraint | None = None,
        native: NativeTime | None = None,
    ) -> Round:
        """All prompts at once, to the end. Raises ModelError where a request fails."""
        self._begun.clear()
        self._ended.clear()
        began = time.perf_counter()
        for prompt in prompts:
            self._ids += 1
            request = GenerateRequest(TokenPrompt(tuple(prompt)), tokens, sampling)
            if constraint is not None:
                request = GenerateRequest(request.prompt, tokens, sampling, constraint=constraint)
            self._loop.generate(messages.Generate(self._ids, request))
        while len(self._begun) < len(prompts):
            self._step()
        first = time.perf_counter()
        inside = 0.0 if native is None else native.seconds
        steps = 0
        until = first
        inside_until = inside
        while not self._ended:
            until, inside_until = time.perf_counter(), 0.0 if native is None else native.seconds
            self._step()
            steps += 1
        # The last step also ended requests, which no other step did.
        while self._loop.busy:
            self._step()
        return Round(
            first=first - began,
            whole=time.perf_counter() - began,
            decode=until - first,
            decode_tokens=max(0, steps - 1) * len(prompts),
            tokens=sum(self._ended.values()),
            native=inside_until - inside,
        )

    def _step(self) -> None:
        self._loop.step()

    def _receive(self, message: messages.FromWorker) -> None:
        messages.encode(message)
        match message:
            case messages.Step(deltas=deltas):
                for request, delta in deltas:
                    self._begun.add(request)
                    if delta.end is not None:
                        self._ended[request] = delta.end.usage.completion_tokens
            case messages.Failed(message=text):
                raise ModelError(text)
            case _:
                pass


def open_bare(spec: messages.WorkerSpec) -> Llama:
    """The model as the loop opens it, for `bare_round`."""
    return Llama(
        Path(spec.path),
        context=spec.context,
        kv_tokens=spec.kv_tokens,
        sequences=spec.parallel + 1,
        threads=spec.threads,
        gpu_layers=spec.gpu_layers,
        safe_mode=spec.safe_mode,
    )


def bare_round(llama: Llama, prompts: Prompts, tokens: int) -> Round:
    """Prefill in whole batches, then one token each a step: the likeliest of its row.

    Raises ModelError where llama.cpp cannot decode.
    """
    llama.clear()
    began = time.perf_counter()
    latest = _prefill(llama, prompts)
    first = time.perf_counter()
    for step in range(tokens - 1):
        rows = [Rows(n, len(prompt) + step, [latest[n]], True) for n, prompt in enumerate(prompts)]
        latest = dict(enumerate(_decoded(llama, rows)))
    ended = time.perf_counter()
    made = len(prompts) * (tokens - 1)
    return Round(first - began, ended - began, ended - first, made, made + len(prompts))


def prompts_of(seed: str, count: int, length: int, vocabulary: int) -> list[list[int]]:
    """Prompts of random tokens, which have no prefix in common."""
    rng = random.Random(seed)  # noqa: S311
    # The first tokens of a vocabulary are often control tokens.
    low = min(vocabulary // 2, 512)
    return [[rng.randrange(low, vocabulary) for _ in range(length)] for _ in range(count)]


def _prefill(llama: Llama, prompts: Prompts) -> dict[int, int]:
    """The first token of each answer, by sequence."""
    latest: dict[int, int] = {}
    rows: list[Rows] = []
    room = BATCH
    for n, prompt in enumerate(prompts):
        at = 0
        while at < len(prompt):
            piece = list(prompt[at : at + room])
            rows.append(Rows(n, at, piece, at + len(piece) == len(prompt)))
            at += len(piece)
            room -= len(piece)
            if not room:
                latest |= _answers(llama, rows)
                rows, room = [], BATCH
    return latest | _answers(llama, rows)


def _answers(llama: Llama, rows: Sequence[Rows]) -> dict[int, int]:
    if not rows:
        return {}
    ids = [row.sequence for row in rows if row.logits]
    return dict(zip(ids, _decoded(llama, rows), strict=True))


def _decoded(llama: Llama, rows: Sequence[Rows]) -> list[int]:
    """The likeliest token of each row that wants logits."""
    status = llama.decode(rows)
    if status != 0:
        raise ModelError(f"llama.cpp could not decode a step of the bare loop (status {status}).")
    wanted = sum(row.logits for row in rows)
    return [int(row.argmax()) for row in llama.logits(wanted)] if wanted else []
