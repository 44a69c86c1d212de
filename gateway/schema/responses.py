"""/v1/responses: the request with all of OpenAI's parameters, and the response."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.chat import ReasoningEffort, ServiceTier
from gateway.schema.common import ModelId, Timings
from gateway.schema.ensemble import EnsembleOverride, EnsembleReport
from gateway.schema.items import StoredItem
from gateway.schema.response_tools import ResponseTool, ToolChoice
from gateway.schema.sampling import INT64, Penalty, RepetitionPenalty, StopString, Tokens
from gateway.schema.sampling import TokenId as LogitToken
from gateway.schema.tools import MAX_TOOLS
from gateway.schema.vector_stores import Metadata

__all__ = [
    "ConversationRef",
    "Includable",
    "IncompleteDetails",
    "InputTokens",
    "InputTokensRequest",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "Reasoning",
    "Response",
    "ResponseDeleted",
    "ResponseError",
    "ResponseStatus",
    "ResponseUsage",
    "ResponsesRequest",
    "TextFormat",
    "TextSettings",
]

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Includable = Literal[
    "file_search_call.results",
    "message.output_text.logprobs",
    # Thoughts are never encrypted here: the item itself has them, and can be sent back.
    "reasoning.encrypted_content",
]
ResponseId = Annotated[str, Meta(min_length=1, max_length=128)]


class PlainFormat(Struct, frozen=True, kw_only=True, tag="text", tag_field="type"):
    """Free text."""


class JsonObjectFormat(Struct, frozen=True, kw_only=True, tag="json_object", tag_field="type"):
    """Any JSON object."""


class JsonSchemaFormat(Struct, frozen=True, kw_only=True, tag="json_schema", tag_field="type"):
    """JSON that follows a schema. It always does, whatever `strict` says."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


TextFormat = PlainFormat | JsonObjectFormat | JsonSchemaFormat


class TextSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the text is to look like. `verbosity` is refused unless medium."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to think. Thoughts come whole, so a summary is refused."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ConversationRef(Struct, frozen=True, kw_only=True):
    """A conversation by its id."""

    id: ResponseId


class ResponseStreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`include_obfuscation` has no effect: nothing is padded here."""

    include_obfuscation: bool | None = None


class InputTokensRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the prompt of a response is made of. An item may lack its `type` where it is plain."""

    model: ModelId
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    tools: Annotated[list[ResponseTool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    previous_response_id: ResponseId | None = None
    conversation: ResponseId | ConversationRef | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    personality: Any = None  # refused


class ResponsesRequest(InputTokensRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a response. Null means absent; `seed` to `ensemble` are extensions."""

    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    include: list[Includable] | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = None
    seed: Annotated[int, Meta(ge=-INT64 - 1, le=INT64)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    logit_bias: dict[LogitToken, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    repetition_penalty: RepetitionPenalty | None = None
    deterministic: bool | None = None
    ensemble: EnsembleOverride | None = None
    # Without effect on the answer.
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Refused unless neutral.
    max_tool_calls: Any = None
    prompt: Any = None
    moderation: Any = None
    context_management: Any = None
    image: Any = None
    access_programs: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None


class InputTokens(Struct, frozen=True, kw_only=True):
    """How many tokens the prompt of such a request has."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class ResponseError(Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why a response is cut off."""

    reason: Literal["max_output_tokens", "content_filter"]


class InputTokensDetails(Struct, frozen=True, kw_only=True):
    """`cached_tokens` were not prefilled again."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, frozen=True, kw_only=True):
    """`reasoning_tokens` came before the answer."""

    reasoning_tokens: int = 0


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """Token counts; an ensemble's are the sum over its members. `cost` as in chat's `Usage`."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    cost: float | UnsetType = UNSET


class Response(Struct, frozen=True, kw_only=True):
    """A response, however far it is. `ensemble` and `timings` are extensions."""

    id: str
    created_at: int  # Unix seconds, as all times
    model: str
    status: ResponseStatus
    output: list[StoredItem] = []
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    temperature: float | None = None
    tool_choice: ToolChoice = "auto"
    tools: list[ResponseTool] = []
    top_p: float | None = None
    background: bool = False
    completed_at: int | None = None
    conversation: ConversationRef | None = None
    max_output_tokens: int | None = None
    max_tool_calls: None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: Reasoning = Reasoning()
    safety_identifier: str | None = None
    service_tier: ServiceTier = "default"
    store: bool = True
    text: TextSettings = TextSettings(format=PlainFormat())
    top_logprobs: int = 0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    object: Literal["response"] = "response"
    ensemble: EnsembleReport | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class ResponseDeleted(Struct, frozen=True, kw_only=True):
    """The response is gone; what a conversation has of it stays there."""

    id: str
    deleted: bool = True
    object: Literal["response"] = "response"
