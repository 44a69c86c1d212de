"""One request's answer as it grows: draw a token, follow the grammar, release text."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.types import (
    FinishReason,
    GenerateDelta,
    GenerateEnd,
    GenerateRequest,
    Timings,
    TokenLogprob,
    Usage,
)
from models.worker.sampling import Sampler, log_probabilities
from models.worker.structured import Matcher
from models.worker.text import TextStream
from models.worker.waiting import Sequence

__all__ = ["Request", "Vocabulary"]


class Vocabulary(Protocol):
    """What a request needs to know of the model's tokens."""

    @property
    def end_tokens(self) -> frozenset[int]:
        """Those that end a turn."""
        ...

    def piece(self, token: int) -> bytes:
        """A token's bytes."""
        ...


@dataclass
class Request:
    """A request that is queued or running. `limit` is the total of tokens at which it ends."""

    sequence: Sequence
    vocabulary: Vocabulary
    sampler: Sampler
    stream: TextStream
    limit: int
    matcher: Matcher | None
    top: int | None  # how many alternatives of each token to report, if any
    whole: bool
    queued_at: float
    placed_at: float = 0.0
    first_at: float = 0.0
    text: list[str] = field(default_factory=list[str])
    logprobs: deque[tuple[int, TokenLogprob]] = field(default_factory=deque[Any])  # at characters
    reason: FinishReason | None = None
    error: ModelError | None = None

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        sequence: Sequence,
        vocabulary: Vocabulary,
        context: int,
        matcher: Matcher | None,
    ) -> "Request":
        """Queued now, as asked for, within a context of so many tokens."""
        prompt = sequence.tokens
        allowed = context if request.max_tokens is None else len(prompt) + request.max_tokens
        return cls(
            sequence=sequence,
            vocabulary=vocabulary,
            sampler=Sampler(request.sampling, prompt, vocabulary.end_tokens),
            stream=TextStream(request.stop),
            limit=min(allowed, context),
            matcher=matcher,
            top=request.sampling.logprobs,
            whole=request.whole,
            queued_at=time.perf_counter(),
        )

    def placed(self) -> None:
        """It runs, perhaps again after it had to give way: its time in the queue was the first."""
        if not self.placed_at:
            self.placed_at = time.perf_counter()

    def sample(self, logits: NDArray[np.float32]) -> None:
        """Draw from a row of shape (vocabulary,); sets `reason` at the end, or `error`."""
        if not self.first_at:
            self.first_at = time.perf_counter()
        try:
            self._sample(logits)
        except ModelError as error:
            self.error = error

    def delta(self) -> GenerateDelta | None:
        """What can be sent now, if anything; the last one says how the answer ended."""
        if self.whole and self.reason is None:
            return None
        if self.reason is not None:
            self.text.append(self.stream.flush())
        text = "".join(self.text)
        self.text.clear()
        if not text and self.reason is None:
            return None
        return GenerateDelta(text, self._end(), self._released())

    def _sample(self, logits: NDArray[np.float32]) -> None:
        matcher = self.matcher
        token = self.sampler.pick(logits, None if matcher is None else matcher.allowed())
        if self.top is not None and token not in self.vocabulary.end_tokens:
            self.logprobs.append((self.stream.received, self._logprob(logits, token, self.top)))
        self._accept(token)
        # What a grammar forces is appended undecoded, so that there are no logits to report.
        if matcher is not None and self.reason is None and self.top is None:
            for forced in matcher.forced():
                if self.reason is None:
                    self._accept(forced)

    def _accept(self, token: int) -> None:
        if token in self.vocabulary.end_tokens:
            self.reason = "stop"
            return
        self.sequence.tokens.append(token)
        self.sampler.accept(token)
        self.text.append(self.stream.push(self.vocabulary.piece(token)))
        matcher = self.matcher
        if self.stream.stopped or (
            matcher is not None and (not matcher.consume(token) or matcher.stopped)
        ):
            self.reason = "stop"
        elif len(self.sequence.tokens) >= self.limit:
            self.reason = "length"

    def _logprob(self, logits: NDArray[np.float32], token: int, top: int) -> TokenLogprob:
        logprob, best = log_probabilities(logits, token, top)
        piece = self.vocabulary.piece
        return TokenLogprob(piece(token), logprob, tuple((piece(t), value) for t, value in best))

    def _released(self) -> tuple[TokenLogprob, ...]:
        """Of the tokens whose text began to be sent; a stop string's own are never."""
        ready: list[TokenLogprob] = []
        everything = self.reason is not None and not self.stream.stopped
        while self.logprobs and (everything or self.logprobs[0][0] < self.stream.released):
            ready.append(self.logprobs.popleft()[1])
        return tuple(ready)

    def _end(self) -> GenerateEnd | None:
        if self.reason is None:
            return None
        now = time.perf_counter()
        sequence = self.sequence
        return GenerateEnd(
            self.reason,
            Usage(
                prompt_tokens=sequence.prompt_length,
                completion_tokens=len(sequence.tokens) - sequence.prompt_length,
                cached_tokens=sequence.cached,
            ),
            Timings(
                queue_ms=(self.placed_at - self.queued_at) * 1000,
                prefill_ms=(self.first_at - self.placed_at) * 1000,
                decode_ms=(now - self.first_at) * 1000,
            ),
        )
