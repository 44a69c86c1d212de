"""Structured output: a grammar says which tokens may come next (llguidance)."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import llguidance
import llguidance.numpy as llnumpy
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest, ModelError
from models.types import Constraint
from models.worker.schemas import prepare

__all__ = ["Grammars", "Matcher"]


class Matcher:
    """One request's place in its grammar."""

    def __init__(self, inner: llguidance.LLMatcher, vocabulary: int) -> None:
        self._inner = inner
        self._vocabulary = vocabulary
        self._mask = llnumpy.allocate_token_bitmask(1, vocabulary)

    @property
    def stopped(self) -> bool:
        """Nothing may follow."""
        return self._inner.is_stopped()

    def allowed(self) -> NDArray[np.bool_]:
        """Shape (vocabulary,): True for each token that may come next."""
        llnumpy.fill_next_token_bitmask(self._inner, self._mask, 0)
        if self._inner.is_error():
            raise ModelError("The grammar grew too large while the answer was being written.")
        bits = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little")
        return bits[: self._vocabulary].view(np.bool_)

    def consume(self, token: int) -> bool:
        """Step over a token; False if the grammar has no place for it."""
        return self._inner.consume_token(token)

    def forced(self) -> list[int]:
        """Tokens that the grammar leaves no choice about."""
        return self._inner.compute_ff_tokens()


class Grammars:
    """Compiles constraints for one vocabulary beside the steps, and keeps the recent ones.

    `tokenizer` makes llguidance's view of the vocabulary, at the first use: it takes a second.
    """

    def __init__(self, tokenizer: Callable[[], Any], vocabulary: int, keep: int = 64) -> None:
        self._make_tokenizer = tokenizer
        self._tokenizer: Any = None
        self._lock = threading.Lock()
        self._vocabulary = vocabulary
        self._keep = keep
        self._compiled: dict[Constraint, Future[llguidance.LLMatcher]] = {}
        # Two, so that one schema that takes long does not hold up all others.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="grammar")

    def compile(self, constraint: Constraint) -> "Future[llguidance.LLMatcher]":
        """Under way, or done before."""
        compiled = self._compiled.pop(constraint, None)
        if compiled is None:
            compiled = self._threads.submit(self._compile, constraint)
        self._compiled[constraint] = compiled  # most recently used last
        while len(self._compiled) > self._keep:
            del self._compiled[next(iter(self._compiled))]
        return compiled

    def matcher(self, compiled: "Future[llguidance.LLMatcher]") -> Matcher:
        """A fresh matcher; raises InvalidRequest for what could not be compiled."""
        return Matcher(compiled.result().deep_copy(), self._vocabulary)

    def _compile(self, constraint: Constraint) -> llguidance.LLMatcher:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._make_tokenizer()
        try:
            if constraint.kind == "json_schema":
                grammar = llguidance.LLMatcher.grammar_from_json_schema(
                    prepare(constraint.grammar), defaults={"whitespace_flexible": False}
                )
            else:
                grammar = llguidance.grammar_from("lark", constraint.grammar)
            matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        except ValueError as error:
            raise _refused(str(error)) from error
        except InvalidRequest:
            raise
        except BaseException as error:  # a panic in Rust is none of Exception's
            raise _refused("llguidance gave up on it") from error
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return matcher


def _refused(why: str) -> InvalidRequest:
    first = next(iter(why.strip().splitlines()), "no reason given")
    return InvalidRequest(f"The grammar cannot be compiled: {first}", "response_format")
