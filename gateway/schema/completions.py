"""POST /v1/completions: raw text continued, and its answers."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.chat import Usage
from gateway.schema.common import Item, ModelId, StatusEvent, Timings
from gateway.schema.sampling import INT32, SamplingParameters

__all__ = [
    "Completion",
    "CompletionChoice",
    "CompletionChunk",
    "CompletionChunkChoice",
    "CompletionLogprobs",
    "CompletionRequest",
    "FinishReason",
]

FinishReason = Literal["stop", "length"]


class CompletionRequest(SamplingParameters, frozen=True, kw_only=True):
    """`prompt` is a text, texts, one text's token ids, or token ids of several texts."""

    model: ModelId
    prompt: str | Annotated[list[Item], Meta(min_length=1)]
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    echo: bool | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=INT32)] | None = None  # 0: the echo alone
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    suffix: str | None = None  # the answer stands between the prompt and this


class CompletionLogprobs(Struct, frozen=True, kw_only=True):
    """Four lists of one entry a token; `text_offset` counts characters of the choice's text.

    The first token of a prompt that is echoed has null for its probabilities. A token that is not
    whole characters is spelled `bytes:\\xe2\\x82`. Each of `top_logprobs` has
    the likeliest tokens and the one that was drawn.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """An answer. Those to prompt p have the indexes from p * n."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: CompletionLogprobs | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """The answers in one piece. `timings` is an extension."""

    id: str
    created: int  # Unix seconds
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
    timings: Timings
    object: Literal["text_completion"] = "text_completion"


class CompletionChunkChoice(Struct, frozen=True, kw_only=True):
    """A piece of one answer."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: CompletionLogprobs | None = None


class CompletionChunk(Struct, frozen=True, kw_only=True):
    """One event of a stream. `usage` is null in all but the last where it was asked for.

    `event` is an extension: the load that a cold start waits for.
    """

    id: str
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    system_fingerprint: str
    object: Literal["text_completion"] = "text_completion"
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    event: StatusEvent | UnsetType = UNSET
