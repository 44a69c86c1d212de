"""Intake: what happens to a request before it queues. Its size, its prompt's tokens, its grammar.

All but the compiling of grammars is done between two steps, while everybody's streams wait.
"""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field

from models.errors import ContextOverflow, InvalidRequest, ModelError, QueueFull
from models.types import ChatPrompt, GenerateRequest, Prompt, TokenPrompt
from models.worker.answer_grammar import Shape
from models.worker.continuation import Continuation
from models.worker.fair_threads import Job
from models.worker.faults import as_model_error
from models.worker.llama import Llama
from models.worker.output import Output
from models.worker.pace import Turnover
from models.worker.prompts import Prompts
from models.worker.request import Request
from models.worker.sizes import cost, field_at_fault, least_tokens
from models.worker.structured import Grammars, Matcher, parameter_of
from models.worker.waiting import Sequence

__all__ = ["Intake"]

COUNTED_AT_ONCE = 100_000  # characters: their tokens are counted in less than half a second
EVERYBODY = "*"  # the one scope of prefixes, where they are shared by all
COMPILE_S = 10.0  # a grammar that takes longer is refused
THREAD_S = 20.0  # that a grammar waits for a thread; then its client is sent away


@dataclass
class _Compiling:
    """A request that waits for its grammar."""

    request: GenerateRequest
    tokens: list[int]
    shape: Shape | None
    grammar: Job[Matcher]
    since: float = field(default_factory=time.perf_counter)


class Intake:
    """Requests in; out come those that may queue, at once or when their grammar is compiled.

    At most `max_waiting` requests wait for their grammars, those counted that were given up while
    their compile runs on; but an owner of whom there is none is always let in.
    """

    def __init__(
        self, llama: Llama, prompts: Prompts, max_waiting: int, *, global_scope: bool
    ) -> None:
        self._llama = llama
        self._max_waiting = max_waiting
        self._global_scope = global_scope
        self._prompts = prompts
        self._spelling = prompts.spelling()
        self._grammars = Grammars(llama.grammar_tokenizer, llama.segments, llama.vocabulary)
        self._compiling: dict[int, _Compiling] = {}
        self._turnover = Turnover()

    @property
    def busy(self) -> bool:
        """Whether anybody waits for a grammar."""
        return bool(self._compiling)

    def take(self, request_id: int, request: GenerateRequest) -> Request | None:
        """What may queue now; None: `compiled` will give it. Raises InvalidRequest, QueueFull."""
        self._check_size(request.prompt)
        rendered = self._prompts.render(request.prompt, request.owner)
        if request.continuation:
            return self._scored(request_id, request, rendered.tokens)
        self._check(request, rendered.tokens)
        shape = self._prompts.shape(request, rendered)
        if request.constraint is None and request.tool_use is None:
            return self._made(request_id, request, rendered.tokens, shape, None)
        self._check_room(request.owner)
        grammar = self._grammars.compile(request.constraint, shape, request.owner)
        self._compiling[request_id] = _Compiling(request, rendered.tokens, shape, grammar)
        return None

    def compiled(self) -> Iterator[tuple[int, Request | ModelError]]:
        """Those whose grammars are done since the last time, or refused."""
        for request_id, waiting in list(self._compiling.items()):
            done = waiting.grammar.future.done()
            late = None if done else self._late(waiting)
            if not done and late is None:
                continue
            self.cancel(request_id)
            yield request_id, late or self._finished(request_id, waiting)

    def cancel(self, request_id: int) -> None:
        """Nobody waits for this one any more."""
        waiting = self._compiling.pop(request_id, None)
        if waiting is not None:
            self._grammars.leave(waiting.grammar, waiting.request.owner)

    def wait(self, seconds: float) -> None:
        """Until a grammar is compiled, but no longer than that."""
        under_way = [waiting.grammar.future for waiting in self._compiling.values()]
        wait(under_way, seconds, FIRST_COMPLETED)

    def _finished(self, request_id: int, waiting: _Compiling) -> Request | ModelError:
        self._turnover.observe(time.perf_counter() - waiting.since)
        try:
            matcher = waiting.grammar.result().copy()
            return self._made(request_id, waiting.request, waiting.tokens, waiting.shape, matcher)
        except BaseException as error:
            return as_model_error(error)

    def _made(
        self,
        request_id: int,
        request: GenerateRequest,
        tokens: list[int],
        shape: Shape | None,
        matcher: Matcher | None,
    ) -> Request:
        return Request.of(
            request,
            self._sequence(request_id, request, tokens, len(tokens)),
            self._llama if shape is None else self._spelling,
            self._llama.context,
            Output(request.stop, None if shape is None else shape.parser()),
            matcher,
            model_draws=self._llama.draws,
        )

    def _sequence(
        self,
        request_id: int,
        request: GenerateRequest,
        tokens: list[int],
        prompt_length: int,
        *,
        scored: bool = False,
    ) -> Sequence:
        return Sequence(
            request_id,
            request.owner,
            tokens,
            prompt_length,
            flex=request.flex,
            scope=EVERYBODY if self._global_scope else request.owner,
            alone=request.deterministic,
            scored=scored,
        )

    def _scored(self, request_id: int, request: GenerateRequest, tokens: list[int]) -> Request:
        """One whose answer is given. Its last token is not decoded: nobody asks what follows it."""
        given = self._prompts.given(request.continuation)
        self._check(request, tokens + given)
        continuation = Continuation(given)
        return Request.of(
            request,
            self._sequence(request_id, request, tokens + given[:-1], len(tokens), scored=True),
            self._prompts.spelled,
            self._llama.context,
            Output(),
            None,
            continuation=continuation,
        )

    def _check_size(self, prompt: Prompt) -> None:
        """Refuse by its size what is far too long: running streams would wait for the count."""
        context = self._llama.context
        if isinstance(prompt, TokenPrompt):
            if len(prompt.tokens) >= context:
                raise self._overflow(len(prompt.tokens), "", "prompt")
            return
        if cost(prompt) < COUNTED_AT_ONCE:
            return
        least = least_tokens(prompt, self._llama.longest_piece)
        if least >= context:
            raise self._overflow(least, "at least ", field_at_fault(prompt))

    def _check(self, request: GenerateRequest, tokens: list[int]) -> None:
        """Sizes; raises InvalidRequest."""
        prompt = request.prompt
        if not tokens:
            param = "messages" if isinstance(prompt, ChatPrompt) else "prompt"
            raise InvalidRequest("The prompt is empty.", param)
        if len(tokens) >= self._llama.context:
            param = "prompt" if isinstance(prompt, TokenPrompt) else field_at_fault(prompt)
            raise self._overflow(len(tokens), "", param)
        for token, _ in request.sampling.logit_bias:
            if token >= self._llama.vocabulary:
                raise InvalidRequest(f"Token id {token} is outside the vocabulary.", "logit_bias")

    def _overflow(self, tokens: int, at_least: str, param: str) -> ContextOverflow:
        context = self._llama.context
        return ContextOverflow(
            f"The prompt has {at_least}{tokens} tokens; this model's context holds {context}, "
            "and the answer needs room too. Shorten it.",
            tokens,
            context,
            param,
        )

    def _check_room(self, owner: str) -> None:
        """Raise QueueFull where too many grammars are under way."""
        owners = [each.request.owner for each in self._compiling.values()]
        owners += self._grammars.abandoned
        if len(owners) >= self._max_waiting and owner in owners:
            raise self._full(
                f"{len(owners)} requests already wait for their grammars.", len(owners)
            )

    def _late(self, waiting: _Compiling) -> ModelError | None:
        """Why it waits no longer for what is not compiled yet, if so."""
        compiling_s = self._grammars.compiling_s(waiting.grammar)
        if compiling_s is not None and compiling_s > COMPILE_S:
            param = parameter_of(waiting.request.constraint)
            message = f"'{param}' takes longer than {COMPILE_S:.0f} s to compile."
            return InvalidRequest(message, param)
        if compiling_s is None and time.perf_counter() - waiting.since > THREAD_S:
            # No fault of its own: others' grammars hold the threads.
            return self._full("Other grammars are being compiled.", len(self._compiling))
        return None

    def _full(self, why: str, count: int) -> QueueFull:
        oldest = min((each.since for each in self._compiling.values()), default=None)
        age_s = 0.0 if oldest is None else time.perf_counter() - oldest
        # What each took includes its wait for the others: one such time from now all are done.
        retry_after_s = self._turnover.retry_after_s(count, count, age_s)
        return QueueFull(f"{why} Come back in {retry_after_s:.0f} s.", retry_after_s)
