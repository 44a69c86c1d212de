"""Structured output: a grammar says which tokens may come next (llguidance)."""

import json
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import llguidance
import llguidance.numpy as llnumpy
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest, Unsupported
from models.types import Constraint
from models.worker.answer_grammar import Shape, Split, compose
from models.worker.compile_trial import STACK_BYTES, ends, risky
from models.worker.conjunctions import MOST_TOGETHER, terminals_together
from models.worker.fair_threads import FairThreads, Job
from models.worker.gbnf import to_lark
from models.worker.schemas import prepare

__all__ = ["Grammars", "Matcher", "parameter_of"]

Wanted = tuple[Constraint | None, Shape | None]

MAX_CHARACTERS = 32_000  # of a grammar or regular expression
# A quarter of the default: what needs more would hold up every step for half a second.
LEXER_FUEL = 250_000
REASON = re.compile(r"^error: (.*)$", re.MULTILINE)  # of a regular expression that is none
# What llguidance says without the keyword at fault.
SAID = {
    "Resource ": "'$ref' leads out of the schema",
    "Pointer ": "'$ref' leads to nothing",
    "lookarounds ": "a 'pattern' has an anchor amid it",
    "Failed to generate regex for": "'minimum' or 'maximum' is too large",
}
JSON_SCHEMA = re.compile(r"%json\s*")  # what follows in Lark is a JSON schema


class Matcher:
    """One request's place in its grammar. Raises InvalidRequest where that is too complex."""

    def __init__(self, inner: llguidance.LLMatcher, vocabulary: int, param: str) -> None:
        self._inner = inner
        self._vocabulary = vocabulary
        self._param = param
        self._mask = llnumpy.allocate_token_bitmask(1, vocabulary)

    def copy(self) -> "Matcher":
        """Another one at the same place."""
        return Matcher(self._inner.deep_copy(), self._vocabulary, self._param)

    @property
    def stopped(self) -> bool:
        """Nothing may follow."""
        return self._inner.is_stopped()

    def allows(self, token: int) -> bool:
        """Whether this token may come next."""
        valid = self._inner.validate_tokens([token]) == 1
        self._check()
        return valid

    def allowed(self) -> NDArray[np.bool_]:
        """Shape (vocabulary,): True for each token that may come next."""
        llnumpy.fill_next_token_bitmask(self._inner, self._mask, 0)
        self._check()
        bits = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little")
        return bits[: self._vocabulary].view(np.bool_)

    def consume(self, token: int) -> None:
        """Step over a token that `allowed` or `forced` gave."""
        self._inner.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """Tokens that the grammar leaves no choice about."""
        return self._inner.compute_ff_tokens()

    def _check(self) -> None:
        if self._inner.is_error():
            message = f"The answer cannot be continued: what '{self._param}' asks is too complex."
            raise InvalidRequest(message, self._param)


class Grammars:
    """Compiles constraints for one vocabulary beside the steps, and keeps the recent ones.

    `tokenizer` makes llguidance's view of the vocabulary, at the first use: it takes a second.
    `split` cuts a text at its control tokens.
    """

    def __init__(
        self, tokenizer: Callable[[], Any], split: Split, vocabulary: int, keep: int = 64
    ) -> None:
        self._make_tokenizer = tokenizer
        self._split = split
        self._tokenizer: Any = None
        self._tokenizer_at = math.inf
        self._unusable = ""  # why llguidance does not take the vocabulary, if it does not
        self._lock = threading.Lock()
        self._vocabulary = vocabulary
        self._keep = keep
        self._jobs: dict[Wanted, Job[Matcher]] = {}
        # Two, so that one schema that takes long does not hold up all others.
        self._threads: FairThreads[Matcher] = FairThreads(2, "grammar", STACK_BYTES)

    @property
    def abandoned(self) -> list[str]:
        """Owners of the compiles that run on although nobody waits for them."""
        return self._threads.abandoned

    def compile(
        self, constraint: Constraint | None, shape: Shape | None = None, owner: str = ""
    ) -> Job[Matcher]:
        """Under way, or done before. The result raises InvalidRequest for what is refused.

        `constraint` is of the answer's text, `shape` of what else may stand around it. Who does
        not wait for it any more says so with `leave`.
        """
        wanted = (constraint, shape)
        job = self._jobs.pop(wanted, None)
        if job is None:
            job = self._threads.submit(lambda: self._compile(constraint, shape), owner)
        else:
            self._threads.join(job, owner)
        self._jobs[wanted] = job  # most recently used last
        while len(self._jobs) > self._keep:
            del self._jobs[next(iter(self._jobs))]
        return job

    def leave(self, job: Job[Matcher], owner: str) -> None:
        """One request of this owner does not wait for it any more."""
        self._threads.leave(job, owner)
        if job.future.cancelled():
            self._jobs = {wanted: each for wanted, each in self._jobs.items() if each is not job}

    def compiling_s(self, job: Job[Matcher]) -> float | None:
        """Seconds since a thread began with it, the vocabulary's own aside; None: none has."""
        if job.begun_at is None:
            return None
        return max(0.0, time.perf_counter() - max(job.begun_at, self._tokenizer_at))

    def _compile(self, constraint: Constraint | None, shape: Shape | None) -> Matcher:
        param = parameter_of(constraint)
        tokenizer = self._known_tokenizer(param)
        try:
            grammar = None if constraint is None else _grammar(constraint)
            if shape is not None:
                grammar = compose(shape, self._split, grammar)
            assert grammar is not None
            if not all(map(ends, [*risky(grammar), *_risky_lark(constraint)])):
                raise ValueError("what holds for one value together takes too long, or too much")
            limits = llguidance.LLParserLimits(initial_lexer_fuel=LEXER_FUEL)
            inner = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
        except ValueError as error:
            raise _refused(str(error), param) from error
        except InvalidRequest as error:
            if error.param != "response_format":  # it is of a tool's schema
                raise
            raise InvalidRequest(str(error), param) from error
        except BaseException as error:  # a panic in Rust is none of Exception's
            raise _refused("llguidance gave up on it", param) from error
        if inner.is_error():
            raise _refused(inner.get_error(), param)
        matcher = Matcher(inner, self._vocabulary, param)
        try:
            matcher.allowed()  # the costliest mask is the first; and one without tokens is an error
        except InvalidRequest as error:
            raise _refused("nothing can satisfy it, or it is too complex", param) from error
        return matcher

    def _known_tokenizer(self, param: str) -> Any:
        """The vocabulary as llguidance sees it; raises Unsupported where it cannot."""
        with self._lock:
            if self._tokenizer is None and not self._unusable:
                try:
                    self._tokenizer = self._make_tokenizer()
                except BaseException as error:  # a panic in Rust is none of Exception's
                    self._unusable = (str(error).strip() or type(error).__name__).splitlines()[0]
                self._tokenizer_at = time.perf_counter()
        if self._unusable:
            raise Unsupported(
                f"'{param}' cannot be used with this model: no grammar can be followed in its "
                f"vocabulary ({self._unusable[:200]}).",
                param,
            )
        return self._tokenizer


def parameter_of(constraint: Constraint | None) -> str:
    """The parameter that a request says it with; without a constraint it is about tools."""
    if constraint is not None and constraint.param:
        return constraint.param
    match None if constraint is None else constraint.kind:
        case None:
            return "tools"
        case "json_schema":
            return "response_format"
        case "regex":
            return "regex"
        case _:
            return "grammar"


def _grammar(constraint: Constraint) -> str:
    """As llguidance takes it, in JSON. Raises ValueError or InvalidRequest."""
    text = constraint.grammar
    if constraint.kind == "json_schema":
        return llguidance.LLMatcher.grammar_from_json_schema(
            prepare(text), defaults={"whitespace_flexible": False}
        )
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    if constraint.kind == "regex":
        return llguidance.LLMatcher.grammar_from_regex(text)
    if constraint.kind == "lark" and terminals_together(text) > MOST_TOGETHER:
        raise ValueError(f"it has more '&' than {MOST_TOGETHER - 1}")
    lark = to_lark(text) if constraint.kind == "gbnf" else _with_schemas_prepared(text)
    return json.dumps({"grammars": [{"lark_grammar": lark}]}, ensure_ascii=False)


def _risky_lark(constraint: Constraint | None) -> list[str]:
    """The constraint's own grammar, if it is a request's in which several expressions meet."""
    if constraint is None or constraint.kind != "lark" or not constraint.param:
        return []  # an ensemble's own, which is known to end
    text = constraint.grammar
    if terminals_together(text) == 1 and JSON_SCHEMA.search(text) is None:
        return []
    return [_grammar(constraint)]


def _with_schemas_prepared(lark: str) -> str:
    """The grammar, what is wrong with the JSON schemas in it refused or rewritten.

    Looks into texts and comments too: no schema is overlooked because something seems to be one.
    """
    parts: list[str] = []
    done = 0
    for mark in JSON_SCHEMA.finditer(lark):
        if mark.end() < done:
            continue
        try:
            schema, end = json.JSONDecoder().raw_decode(lark, mark.end())
        except RecursionError as error:
            raise ValueError("a JSON schema in it is nested too deeply") from error
        except ValueError:  # the compiler says what is wrong with it
            continue
        if not isinstance(schema, dict):
            continue
        try:
            prepared = prepare(lark[mark.end() : end])
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        if json.loads(prepared) != schema:
            parts += [lark[done : mark.end()], prepared]
            done = end
    return "".join((*parts, lark[done:]))


def _refused(why: str, param: str) -> InvalidRequest:
    lines = why.strip().splitlines() or ["no reason given"]
    # llguidance quotes the text at fault, which may be all of it.
    first = lines[0] if "panic" not in why else "llguidance gave up on it"
    if first.startswith("oneOf"):  # it names a switch of its own that nobody here can set
        first = "'oneOf' is taken only where no value can match two of its branches"
    if "lexer" in first:  # nor its limits
        first = "it is too complex"
    if first.endswith("regex parse error:") and (reason := REASON.search(why)):
        # Before it comes which expression it is; of a schema's, in the line below.
        where = (
            first.removesuffix("regex parse error:") or f"'pattern' {lines[1].strip()[:100]!r}: "
        )
        first = where[:200] + reason[1]
    for beginning, said in SAID.items():
        if first.startswith(beginning):
            first = f"{said} ({first[:200]})"
    return InvalidRequest(f"'{param}' cannot be compiled: {first[:300]}", param)
