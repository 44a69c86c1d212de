"""Structured output: a grammar says which tokens may come next (llguidance)."""

import json
from typing import Any

import llguidance
import llguidance.numpy as llnumpy
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest
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
        bits = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little")
        return bits[: self._vocabulary].view(np.bool_)

    def consume(self, token: int) -> bool:
        """Step over a token; False if the grammar has no place for it."""
        return self._inner.consume_token(token)

    def forced(self) -> list[int]:
        """Tokens that the grammar leaves no choice about."""
        return self._inner.compute_ff_tokens()


class Grammars:
    """Compiles constraints for one vocabulary and keeps the recent ones."""

    def __init__(self, tokenizer: Any, vocabulary: int, keep: int = 64) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._keep = keep
        self._compiled: dict[Constraint, llguidance.LLMatcher] = {}

    def matcher(self, constraint: Constraint) -> Matcher:
        """A fresh matcher; raises InvalidRequest for what cannot be compiled."""
        compiled = self._compiled.pop(constraint, None) or self._compile(constraint)
        self._compiled[constraint] = compiled  # most recently used last
        while len(self._compiled) > self._keep:
            del self._compiled[next(iter(self._compiled))]
        return Matcher(compiled.deep_copy(), self._vocabulary)

    def _compile(self, constraint: Constraint) -> llguidance.LLMatcher:
        try:
            if constraint.kind == "json_schema":
                grammar = llguidance.LLMatcher.grammar_from_json_schema(
                    prepare(constraint.grammar), defaults={"whitespace_flexible": False}
                )
            else:
                grammar = llguidance.grammar_from("lark", constraint.grammar)
        except ValueError as error:
            raise InvalidRequest(_first_line(error), "response_format") from error
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise InvalidRequest(_first_line(matcher.get_error()), "response_format")
        return matcher


def _first_line(error: object) -> str:
    text = str(error).strip().splitlines()
    return f"The grammar cannot be compiled: {text[0] if text else json.dumps(None)}"
