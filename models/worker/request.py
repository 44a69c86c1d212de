"""One request's answer as it grows: draw a token, follow the grammar, release text."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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
from models.worker.backend_sampling import Recipe, recipe_of
from models.worker.continuation import Continuation
from models.worker.faults import as_model_error
from models.worker.output import Output
from models.worker.sampling import Sampler, log_probabilities
from models.worker.structured import Matcher
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
    output: Output
    limit: int
    matcher: Matcher | None
    top: int | None  # how many alternatives of each token to report, if any
    whole: bool
    recipe: Recipe | None  # by which the model draws its tokens itself
    queued_at: float
    continuation: Continuation | None = None  # given, and only scored
    placed_at: float = 0.0
    first_at: float = 0.0
    thoughts: int = 0  # tokens
    reason: FinishReason | None = None
    error: ModelError | None = None

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        sequence: Sequence,
        vocabulary: Vocabulary,
        context: int,
        output: Output,
        matcher: Matcher | None,
        *,
        model_draws: bool = False,
        continuation: Continuation | None = None,
    ) -> "Request":
        """Queued now, as asked for, within a context of so many tokens."""
        prompt = sequence.tokens
        allowed = context if request.max_tokens is None else len(prompt) + request.max_tokens
        return cls(
            sequence=sequence,
            vocabulary=vocabulary,
            sampler=Sampler(request.sampling, prompt, vocabulary.end_tokens),
            output=output,
            limit=min(allowed, context),
            matcher=matcher,
            top=request.sampling.logprobs,
            whole=request.whole,
            recipe=recipe_of(request, vocabulary.end_tokens) if model_draws else None,
            queued_at=time.perf_counter(),
            continuation=continuation,
        )

    def placed(self) -> None:
        """It runs, perhaps again after it had to give way: its time in the queue was the first."""
        if not self.placed_at:
            self.placed_at = time.perf_counter()

    def sample(self, logits: NDArray[np.float32]) -> None:
        """Draw from a row of shape (vocabulary,); sets `reason` at the end, or `error`."""
        self._begun()
        try:
            self._sample(logits)
        except BaseException as error:
            self.error = as_model_error(error)

    def take(self, drawn: Callable[[], int]) -> None:
        """Go on with the token that the model drew; sets `reason` at the end, or `error`."""
        self._begun()
        try:
            self._accept(drawn())
        except BaseException as error:
            self.error = as_model_error(error)

    def score(self, at: int, logits: NDArray[np.float32]) -> None:
        """Score given tokens by rows of shape (count, vocabulary), the first of position `at`."""
        self._begun()
        given = self.continuation
        try:
            assert given is not None
            given.score(at + 1 - self.sequence.prompt_length, logits, self.top or 0)
            if given.done:
                for token, scored in zip(given.tokens, given.scores, strict=True):
                    self.output.push(self.vocabulary.piece(token), self._told(token, scored))
                self.reason = "stop"
        except BaseException as error:
            self.error = as_model_error(error)

    def interrupted(self) -> None:
        """It gave its place back and will go on in another.

        llama.cpp would begin a seed's random numbers anew there and so repeat them: the rest is
        drawn here, whose sampler has used none yet.
        """
        if self.first_at and self.recipe is not None and not self.recipe.repeatable:
            self.recipe = None

    def delta(self) -> GenerateDelta | None:
        """What can be sent now, if anything; the last one says how the answer ended.

        None where there is an `error`, which this may set.
        """
        if self.error is not None or (self.whole and self.reason is None):
            return None
        try:
            return self._delta()
        except BaseException as error:
            self.error = as_model_error(error)
            return None

    def _delta(self) -> GenerateDelta | None:
        if self.reason is None:
            return self.output.delta(None)
        self.output.finish()
        if self.reason == "stop" and self.output.calls_made:
            self.reason = "tool_calls"
        return self.output.delta(self._end(self.reason))

    def _begun(self) -> None:
        if not self.first_at:
            self.first_at = time.perf_counter()

    def _sample(self, logits: NDArray[np.float32]) -> None:
        matcher = self.matcher
        token = self.sampler.pick(logits, matcher)
        logprob = None
        if self.top is not None and token not in self.vocabulary.end_tokens:
            logprob = self._logprob(logits, token, self.top)
        self._accept(token, logprob)
        # What a grammar forces is appended undecoded, so that there are no logits to report.
        if matcher is not None and self.reason is None and self.top is None:
            for forced in matcher.forced():
                if self.reason is None:
                    self._accept(forced)

    def _accept(self, token: int, logprob: TokenLogprob | None = None) -> None:
        if token in self.vocabulary.end_tokens:
            self.reason = "stop"
            return
        self.sequence.tokens.append(token)
        self.sampler.accept(token)
        self.thoughts += self.output.thinking
        self.output.push(self.vocabulary.piece(token), logprob)
        matcher = self.matcher
        if matcher is not None and not self.output.stopped:
            matcher.consume(token)
        if self.output.stopped or (matcher is not None and matcher.stopped):
            self.reason = "stop"
        elif len(self.sequence.tokens) >= self.limit:
            self.reason = "length"

    def _logprob(self, logits: NDArray[np.float32], token: int, top: int) -> TokenLogprob:
        return self._told(token, log_probabilities(logits, token, top))

    def _told(self, token: int, scored: tuple[float, list[tuple[int, float]]]) -> TokenLogprob:
        logprob, best = scored
        piece = self.vocabulary.piece
        return TokenLogprob(piece(token), logprob, tuple((piece(t), value) for t, value in best))

    def _end(self, reason: FinishReason) -> GenerateEnd:
        now = time.perf_counter()
        sequence = self.sequence
        prompt, drawn = sequence.prompt_length, len(sequence.tokens) - sequence.prompt_length
        if self.continuation is not None:
            prompt, drawn = prompt + len(self.continuation.tokens), 0
        return GenerateEnd(
            reason,
            Usage(
                prompt_tokens=prompt,
                completion_tokens=drawn,
                cached_tokens=sequence.cached,
                reasoning_tokens=self.thoughts,
            ),
            Timings(
                queue_ms=(self.placed_at - self.queued_at) * 1000,
                prefill_ms=(self.first_at - self.placed_at) * 1000,
                decode_ms=(now - self.first_at) * 1000,
            ),
        )
