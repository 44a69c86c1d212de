"""What an engine made, as the wire has it."""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from gateway.choices import Answer
from gateway.convert.tools import wire_call, wire_call_delta
from gateway.schema.chat import (
    AssistantAnswer,
    CompletionTokensDetails,
    Delta,
    FinishReason,
    Logprobs,
    PromptTokensDetails,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from gateway.schema.common import Timings
from models import types

__all__ = [
    "wire_answer",
    "wire_delta",
    "wire_logprobs",
    "wire_reason",
    "wire_timings",
    "wire_usage",
]


def wire_answer(answer: Answer, *, functions: bool) -> AssistantAnswer:
    """A whole message; `functions` says calls as the older protocol does."""
    calls = [wire_call(call) for call in answer.calls]
    return AssistantAnswer(
        content=None if calls and not answer.text else answer.text,
        reasoning_content=answer.reasoning or UNSET,
        tool_calls=calls if calls and not functions else UNSET,
        function_call=calls[0].function if calls and functions else UNSET,
    )


def wire_delta(delta: types.GenerateDelta, *, functions: bool) -> Delta:
    """A piece of a message."""
    calls = [wire_call_delta(call) for call in delta.calls]
    text = delta.text or not (calls or delta.reasoning)
    return Delta(
        content=delta.text if text else UNSET,
        reasoning_content=delta.reasoning or UNSET,
        tool_calls=calls if calls and not functions else UNSET,
        function_call=calls[0].function if calls and functions else UNSET,
    )


def wire_reason(reason: types.FinishReason, *, functions: bool) -> FinishReason:
    """Why an answer ended."""
    return "function_call" if functions and reason == "tool_calls" else reason


def wire_logprobs(found: Sequence[types.TokenLogprob]) -> Logprobs:
    """Log probabilities as OpenAI gives them."""
    return Logprobs(
        content=[
            TokenLogprob(
                **_token(each.piece, each.logprob),
                top_logprobs=[TopLogprob(**_token(*other)) for other in each.top],
            )
            for each in found
        ]
    )


def wire_usage(usage: types.Usage) -> Usage:
    """Token counts as OpenAI gives them."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        cost=usage.cost or UNSET,
    )


def wire_timings(
    usage: types.Usage,
    timings: types.Timings,
    retrieval_ms: float = 0.0,
    vote_ms: float = 0.0,
) -> Timings:
    """The `timings` extension."""
    return Timings(
        queue_ms=_round(timings.queue_ms),
        retrieval_ms=_round(retrieval_ms),
        vote_ms=_round(vote_ms),
        prefill_ms=_round(timings.prefill_ms),
        decode_ms=_round(timings.decode_ms),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    text = piece.decode("utf-8", "replace")
    return {"token": text, "logprob": logprob, "bytes": list(piece)}


def _round(milliseconds: float) -> float:
    return round(milliseconds, 3) if math.isfinite(milliseconds) else 0.0
