"""What an engine made, as the wire has it."""

import math
from collections.abc import Sequence
from typing import Any

from gateway.schema.chat import Logprobs, PromptTokensDetails, TokenLogprob, TopLogprob, Usage
from gateway.schema.common import Timings
from models import types

__all__ = ["wire_logprobs", "wire_timings", "wire_usage"]


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
    )


def wire_timings(usage: types.Usage, timings: types.Timings, retrieval_ms: float = 0.0) -> Timings:
    """The `timings` extension."""
    return Timings(
        queue_ms=_round(timings.queue_ms),
        retrieval_ms=_round(retrieval_ms),
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
