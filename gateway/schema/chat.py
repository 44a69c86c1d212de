"""POST /v1/chat/completions: the request with all of OpenAI's parameters, and its answers."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.common import ModelId, Timings
from gateway.schema.ensemble import Annotation, EnsembleOverride, EnsembleReport
from gateway.schema.messages import Message

__all__ = [
    "AssistantAnswer",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatRequest",
    "Choice",
    "ChunkChoice",
    "Delta",
    "JsonSchema",
    "Logprobs",
    "ResponseFormat",
    "ServiceTier",
    "StreamOptions",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
]

INT64 = 2**63 - 1
INT32 = 2**31 - 1
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ServiceTier = Literal["default", "flex"]  # what a request was served as
StopString = Annotated[str, Meta(min_length=1, max_length=1000)]
Tokens = Annotated[int, Meta(ge=1, le=INT32)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Meta(gt=0, le=10)]
TokenId = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]


class StreamOptions(Struct, frozen=True, kw_only=True):
    """`include_obfuscation` has no effect: nothing is padded here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(Struct, frozen=True, kw_only=True):
    """A schema that the answer follows. It always does, whatever `strict` says."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema: dict[str, Any] | bool | UnsetType = UNSET
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True):
    """Free text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A chat request. Unknown fields are ignored; null means absent.

    What is not built yet is declared too, so that `convert` can refuse it by name.
    """

    model: ModelId
    messages: Annotated[list[Message], Meta(min_length=1)]
    # Honoured.
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=INT32)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-INT64 - 1, le=INT64)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: RepetitionPenalty | None = None  # llama.cpp's name
    repetition_penalty: RepetitionPenalty | None = None  # vLLM's name
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None
    service_tier: Literal["auto", "default", "flex"] | None = None
    deterministic: bool | None = None  # ours: the same bytes each time, whatever else runs
    ensemble: EnsembleOverride | None = None
    # Without effect on the answer.
    metadata: Any = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    # Refused unless neutral.
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    moderation: Any = None
    web_search_options: Any = None
    store: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    chat_template_kwargs: dict[str, Any] | None = None


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """`cached_tokens` were not prefilled again."""

    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """All zero: nothing here reasons, speaks or predicts."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts; an ensemble's are the sum over its members."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class AssistantAnswer(Struct, frozen=True, kw_only=True):
    """The message of an answer."""

    content: str | None
    refusal: str | None = None
    role: Literal["assistant"] = "assistant"
    annotations: list[Annotation] = []
    reasoning_content: str | UnsetType = UNSET  # an ensemble's deliberation


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
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
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
