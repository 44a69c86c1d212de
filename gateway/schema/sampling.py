"""What chat and text completions have in common: how tokens are drawn, and where they end."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "INT32",
    "MAX_GRAMMAR",
    "Grammar",
    "JsonSchema",
    "ResponseFormat",
    "SamplingParameters",
    "Schema",
    "StreamOptions",
    "StructuredOutputs",
    "Tokens",
]

INT64 = 2**63 - 1
INT32 = 2**31 - 1
MAX_GRAMMAR = 32_000  # characters; the worker takes no more either
StopString = Annotated[str, Meta(min_length=1, max_length=1000)]
Tokens = Annotated[int, Meta(ge=1, le=INT32)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
# Logits are divided by it: by almost nothing they would become infinite.
RepetitionPenalty = Annotated[float, Meta(ge=0.01, le=10)]
TokenId = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]
GrammarText = Annotated[str, Meta(min_length=1, max_length=MAX_GRAMMAR)]


class StreamOptions(Struct, frozen=True, kw_only=True):
    """`include_obfuscation` has no effect: nothing is padded here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Grammar(Struct, frozen=True, kw_only=True):
    """A grammar that says which of the two notations it is in."""

    type: Literal["lark", "gbnf"]
    value: GrammarText


Schema = dict[str, Any] | bool | str  # a text is the schema's JSON
Choices = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=1000)]


class StructuredOutputs(Struct, frozen=True, kw_only=True):
    """vLLM's newer way to say what an answer must follow: exactly one of the first five.

    The last three are refused unless empty; its switches for a back end have no effect.
    """

    json: Schema | None = None
    json_object: bool | None = None
    regex: GrammarText | None = None
    choice: Choices | None = None
    grammar: GrammarText | None = None
    structural_tag: Any = None
    whitespace_pattern: str | None = None
    disable_additional_properties: bool | None = None


class JsonSchema(Struct, frozen=True, kw_only=True):
    """A schema that the answer follows. It always does, whatever `strict` says."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema: dict[str, Any] | bool | UnsetType = UNSET
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True):
    """Free text, any JSON object, or JSON that follows a schema.

    `schema` is llama.cpp's way to give one, beside either type of JSON.
    """

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | bool | None = None


class SamplingParameters(Struct, frozen=True, kw_only=True):
    """How an answer is drawn. Null means absent: then the model's own default holds.

    `top_k` to `deterministic` are extensions. Without its
    `type`, a grammar with `::=` is GBNF and any other is Lark.
    """

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None  # 0: the likeliest token alone
    seed: Annotated[int, Meta(ge=-INT64 - 1, le=INT64)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logit_bias: dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_k: Annotated[int, Meta(ge=0, le=INT32)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: RepetitionPenalty | None = None  # llama.cpp's name
    repetition_penalty: RepetitionPenalty | None = None  # vLLM's name
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None  # of a text completion, an extension
    grammar: GrammarText | Grammar | None = None
    regex: GrammarText | None = None
    json_schema: Schema | None = None  # llama.cpp's name
    guided_json: Schema | None = None  # this and the next four are vLLM's names
    guided_regex: GrammarText | None = None
    guided_choice: Choices | None = None
    guided_grammar: GrammarText | None = None
    structured_outputs: StructuredOutputs | None = None
    deterministic: bool | None = None  # the same bytes each time, whatever else runs
    user: str | None = None  # without effect on the answer
