"""Requests to an engine and what comes back. Plain data: no HTTP, no llama.cpp."""

from typing import Literal

import msgspec

from models.footprint import Footprint

__all__ = [
    "CallDelta",
    "ChatPrompt",
    "Constraint",
    "EmbedRequest",
    "EmbedResult",
    "EngineState",
    "EngineStats",
    "FinishReason",
    "GenerateDelta",
    "GenerateEnd",
    "GenerateRequest",
    "Message",
    "Prompt",
    "RerankRequest",
    "RerankResult",
    "Sampling",
    "TextPrompt",
    "Timings",
    "TokenLogprob",
    "TokenPrompt",
    "TokenizeRequest",
    "Tool",
    "ToolCall",
    "ToolUse",
    "Usage",
]

FinishReason = Literal["stop", "length", "tool_calls"]
EngineState = Literal["unloaded", "loading", "ready", "failed", "stopped"]


class ToolCall(msgspec.Struct, frozen=True, array_like=True):
    """A call that an assistant made before; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One turn of a chat, content already reduced to text.

    An assistant's turn may have made calls; a tool's says which call it answers.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    reasoning: str = ""


class Tool(msgspec.Struct, frozen=True, array_like=True):
    """A function that the model may call; `parameters` is a JSON schema, as JSON text."""

    name: str
    description: str
    parameters: str


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat", array_like=True):
    """Messages to be rendered with the model's own chat template.

    `variables` are given to the template by name, values as JSON text. `effort` is how long a
    reasoning model should think; "none" asks it not to.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    effort: str | None = None


class TextPrompt(msgspec.Struct, frozen=True, tag="text", array_like=True):
    """Raw text; the model's BOS token is added if it wants one.

    With a `suffix`, what is wanted stands between the two; few models can do that.
    """

    text: str
    suffix: str = ""


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens", array_like=True):
    """Token ids of this model's vocabulary, used as they are."""

    tokens: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How the next token is drawn. `temperature` 0 is greedy; `top_k` 0 keeps all.

    `presence_penalty` and `frequency_penalty` count the answer's tokens, `repetition_penalty` the
    prompt's too. `logprobs` is how many alternatives to report for each token; None reports none.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    typical_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token's bytes and natural log probability, and the likeliest ones in its place."""

    piece: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


class Constraint(msgspec.Struct, frozen=True, array_like=True):
    """What the output must follow: a JSON schema (as JSON text), a grammar in llguidance's Lark or
    llama.cpp's GBNF, or a regular expression (Rust's, matched against the whole output).

    `param` is what the request calls it; errors say so. Without one it is the gateway's own.
    """

    kind: Literal["json_schema", "lark", "gbnf", "regex"]
    grammar: str
    param: str = ""


class ToolUse(msgspec.Struct, frozen=True, array_like=True):
    """Which of the prompt's tools may be called, whether one must be, and whether several may."""

    names: tuple[str, ...]
    required: bool = False
    parallel: bool = True


class GenerateRequest(msgspec.Struct, frozen=True, array_like=True):
    """One completion. `max_tokens` None means up to the end of the context.

    `whole` asks for one delta at the end: where nobody reads along, each token costs a message.
    `flex` is batch work, which gives way to all other: it may begin late and be interrupted.
    `deterministic` runs it alone and uncached, in batches of the same shape each time.
    A `continuation` is text, or token ids, that follows the prompt: its tokens are not drawn but
    scored (teacher forcing), whatever limits, stops and constraints say, and it comes back with
    their `logprobs`, control tokens as they are spelled.
    """

    prompt: Prompt
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    owner: str = "local"
    whole: bool = False
    tool_use: ToolUse | None = None
    flex: bool = False
    deterministic: bool = False
    continuation: str | tuple[int, ...] = ""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts; `cached_tokens` of the prompt were not prefilled again.

    `reasoning_tokens` are those of the completion that the model spent on thinking. `cost` is what
    somebody else asks for it, in the currency of the model's settings.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Where a request's time went, in milliseconds."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0


class GenerateEnd(msgspec.Struct, frozen=True, array_like=True):
    """How a completion ended."""

    reason: FinishReason
    usage: Usage
    timings: Timings = Timings()


class CallDelta(msgspec.Struct, frozen=True, array_like=True):
    """A piece of call number `index`: the first has its id and name, all together its arguments."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class GenerateDelta(msgspec.Struct, frozen=True, array_like=True):
    """A piece of text (valid UTF-8, perhaps empty). The last delta, and only it, has `end`.

    `logprobs`, if asked for, are of the tokens whose text begins in what was sent until now.
    `reasoning` is what the model thinks before it answers; `calls` are of tools.
    """

    text: str
    end: GenerateEnd | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()


class EmbedRequest(msgspec.Struct, frozen=True, array_like=True):
    """Inputs to embed, each a text or token ids of the embedder's own vocabulary.

    An input longer than the model reads is embedded in windows whose mean, weighted by length,
    is its vector: nothing is cut off in silence.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    kind: Literal["query", "document"] = "document"
    owner: str = "local"


class EmbedResult(msgspec.Struct, frozen=True, array_like=True):
    """`vectors` is little-endian float32: a unit vector of `dimension` an input, in order.

    `cost` as in `Usage`.
    """

    vectors: bytes
    dimension: int
    token_counts: tuple[int, ...]
    cost: float = 0.0


class RerankRequest(msgspec.Struct, frozen=True, array_like=True):
    """Documents to be rated by how well each answers the query.

    A document longer than the model reads is rated in windows, and the best one's score is its own:
    nothing is cut off in silence.
    """

    query: str
    documents: tuple[str, ...]
    owner: str = "local"


class RerankResult(msgspec.Struct, frozen=True, array_like=True):
    """`scores` are in the order of the documents, from 0 (not at all) to 1.

    `tokens` is how many the model read, the query's once for every window. `cost` as in `Usage`.
    """

    scores: tuple[float, ...]
    tokens: int
    cost: float = 0.0


class TokenizeRequest(msgspec.Struct, frozen=True, array_like=True):
    """Text, or messages rendered through the chat template.

    Of a text: `add_special` adds what the model wants before and after it, and only with
    `parse_special` does the spelling of a control token become that token.
    """

    prompt: ChatPrompt | TextPrompt
    add_special: bool = True
    parse_special: bool = False


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of an engine now. `detail` says why it is in that state, for a person.

    What follows `pid` is known of models that are loaded on demand: the memory planned for one, how
    long its last load took, how often it was loaded, and unloaded for another's sake. `log_tail`
    is the end of the log of one that failed.
    """

    state: EngineState
    detail: str = ""
    running: int = 0
    waiting: int = 0
    context: int | None = None
    dimension: int | None = None
    safe_mode: bool = False
    restarts: int = 0
    pid: int | None = None
    memory: Footprint | None = None
    load_s: float | None = None
    loads: int = 0
    evictions: int = 0
    log_tail: str = ""
