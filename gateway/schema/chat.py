"""POST /v1/chat/completions: the request with all of OpenAI's parameters, and its answers."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.common import ModelId, SourceEvent, StatusEvent, Timings
from gateway.schema.ensemble import Annotation, EnsembleOverride, EnsembleReport
from gateway.schema.messages import Message, TextContent
from gateway.schema.sampling import SamplingParameters, Tokens
from gateway.schema.tools import (
    MAX_TOOLS,
    FunctionCall,
    FunctionCallDelta,
    FunctionDefinition,
    FunctionName,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
)

__all__ = [
    "AssistantAnswer",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatRequest",
    "Choice",
    "ChunkChoice",
    "Delta",
    "Logprobs",
    "Prediction",
    "ReasoningEffort",
    "ServiceTier",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ServiceTier = Literal["default", "flex"]  # what a request was served as


class Prediction(Struct, frozen=True, kw_only=True, tag_field="type", tag="content"):
    """What the answer will mostly be: a hint that makes no answer faster here."""

    content: TextContent


class ChatRequest(SamplingParameters, frozen=True, kw_only=True):
    """A chat request. Unknown fields are ignored; null means absent.

    What is not built yet is declared too, so that `convert` can refuse it by name.
    """

    model: ModelId
    messages: Annotated[list[Message], Meta(min_length=1)]
    # Honoured.
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionDefinition], Meta(max_length=MAX_TOOLS)] | None = None
    function_call: Literal["none", "auto"] | FunctionName | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    # Only "flex" is a tier of its own; all others are served as "default".
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    ensemble: EnsembleOverride | None = None
    # Without effect on the answer.
    metadata: Any = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prediction: Prediction | None = None
    # Refused unless neutral.
    modalities: list[str] | None = None
    audio: Any = None
    moderation: Any = None
    web_search_options: Any = None
    store: bool | None = None
    verbosity: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """`cached_tokens` were not prefilled again."""

    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """`reasoning_tokens` came before the answer. Nothing here speaks or predicts."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts; an ensemble's are the sum over its members.

    `cost` is an extension: what upstream servers ask for it, in the currency of their settings.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()
    cost: float | UnsetType = UNSET


class AssistantAnswer(Struct, frozen=True, kw_only=True):
    """The message of an answer."""

    content: str | None
    refusal: str | None = None
    role: Literal["assistant"] = "assistant"
    annotations: list[Annotation] = []
    reasoning_content: str | UnsetType = UNSET  # thoughts, or an ensemble's deliberation
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET  # what `functions` are answered with


class TopLogprob(Struct, frozen=True, kw_only=True):
    """A token with its natural log probability; `bytes` where it is not whole characters."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Struct, frozen=True, kw_only=True):
    """A token of the answer, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(Struct, frozen=True, kw_only=True):
    """The tokens of an answer, or of a piece of it."""

    content: list[TokenLogprob]
    refusal: None = None


class Choice(Struct, frozen=True, kw_only=True):
    """One of `n` answers."""

    index: int
    message: AssistantAnswer
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The answer in one piece. `ensemble` and `timings` are extensions."""

    id: str
    created: int  # Unix seconds
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    timings: Timings
    object: Literal["chat.completion"] = "chat.completion"
    service_tier: ServiceTier
    ensemble: EnsembleReport | UnsetType = UNSET


class Delta(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds; empty in the chunk that carries the finish reason of a plain model."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCallDelta | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    """A piece of one of `n` answers."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """One event of a stream. `usage` is null in all but the last where it was asked for."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    service_tier: ServiceTier
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    ensemble: EnsembleReport | UnsetType = UNSET
    event: StatusEvent | SourceEvent | UnsetType = UNSET
