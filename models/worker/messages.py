"""What the gateway and a worker say to each other: msgpack, tagged, one writer a direction."""

import msgspec

from models.errors import ContextOverflow, InvalidRequest, ModelError, QueueFull, Unsupported
from models.types import (
    EmbedRequest,
    EmbedResult,
    GenerateDelta,
    GenerateRequest,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
)

__all__ = [
    "Cancel",
    "CountTokens",
    "Counts",
    "Detokenize",
    "Embed",
    "Embedded",
    "Failed",
    "FromWorker",
    "Generate",
    "Load",
    "LoadFailure",
    "Pieces",
    "Ready",
    "Rerank",
    "Reranked",
    "Shutdown",
    "Spell",
    "Step",
    "Text",
    "ToWorker",
    "Tokenize",
    "Tokens",
    "Trial",
    "WorkerSpec",
    "decode_from_worker",
    "decode_to_worker",
    "encode",
    "error_of",
    "failure",
]


class Trial(msgspec.Struct, frozen=True):
    """What a chat model's trial batches measured. Enough to serve by, until requests tell more."""

    tokens: int  # of one prompt
    prompt_ms: float
    state_bytes: int  # of the cache after it
    step_ms: float  # of a step of streams


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All a worker needs to load its model."""

    model: str
    kind: str  # "chat", "embedding" or "rerank"
    path: str
    threads: int
    context: int | None = None
    kv_tokens: int | None = None
    parallel: int = 8
    max_waiting: int = 64
    prefix_cache_mb: int = 0
    gpu_layers: int = -1
    chat_template: str | None = None
    safe_mode: bool = False
    trial: Trial | None = None  # of an earlier load of the same; None: it has to be tried
    core_lock: str | None = None
    kv: str = "unified"  # or "split"
    share_prefixes: bool = True
    prefix_scope: str = "owner"  # or "global"
    backend_sampling: str = "off"  # or "on", or "auto"
    kv_type: str = "f16"
    tensor_split: tuple[float, ...] = ()  # a part for each of `devices`
    devices: tuple[str, ...] | None = None  # the GPUs it sees, by UUID; None: all
    lora: tuple[tuple[str, float], ...] = ()  # files and scales
    pooling: str | None = None
    dimensions: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    trust_remote_code: bool = False

    @property
    def runs_llama(self) -> bool:
        """Whether llama.cpp runs it: every GGUF file does; else sentence-transformers."""
        return self.kind == "chat" or self.path.lower().endswith(".gguf")


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """The first message: load this model, try it, and say Ready."""

    spec: WorkerSpec


class Generate(msgspec.Struct, frozen=True, array_like=True, tag="generate"):
    """Start a completion."""

    id: int
    request: GenerateRequest


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Drop a request; nothing more is said of it."""

    id: int


class Embed(msgspec.Struct, frozen=True, array_like=True, tag="embed"):
    """Embed some inputs."""

    id: int
    request: EmbedRequest


class Rerank(msgspec.Struct, frozen=True, array_like=True, tag="rerank"):
    """Rate some documents."""

    id: int
    request: RerankRequest


class Tokenize(msgspec.Struct, frozen=True, array_like=True, tag="tokenize"):
    """Token ids, please."""

    id: int
    request: TokenizeRequest


class CountTokens(msgspec.Struct, frozen=True, array_like=True, tag="count_tokens"):
    """How many tokens has each of these texts, please."""

    id: int
    texts: tuple[str, ...]


class Detokenize(msgspec.Struct, frozen=True, array_like=True, tag="detokenize"):
    """Text of token ids, please; `special` spells control tokens out."""

    id: int
    tokens: tuple[int, ...]
    special: bool = False


class Spell(msgspec.Struct, frozen=True, array_like=True, tag="spell"):
    """Each token's bytes, please."""

    id: int
    tokens: tuple[int, ...]


class Shutdown(msgspec.Struct, frozen=True, array_like=True, tag="shutdown"):
    """End after the current step."""


ToWorker = (
    Load
    | Generate
    | Cancel
    | Embed
    | Rerank
    | Tokenize
    | CountTokens
    | Detokenize
    | Spell
    | Shutdown
)


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """Loaded and tried."""

    context: int
    dimension: int | None
    trial: Trial | None = None


class LoadFailure(msgspec.Struct, frozen=True, array_like=True, tag="load_failure"):
    """Not loaded; the worker ends after this."""

    message: str


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """All that one step made, by request id, and the load after it."""

    deltas: tuple[tuple[int, GenerateDelta], ...]
    running: int
    waiting: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """A request ends in an error: the name of a class of models.errors, its text and facts."""

    id: int
    error: str
    message: str
    param: str | None = None
    numbers: tuple[float, ...] = ()


class Embedded(msgspec.Struct, frozen=True, array_like=True, tag="embedded"):
    """Vectors for an Embed."""

    id: int
    result: EmbedResult


class Reranked(msgspec.Struct, frozen=True, array_like=True, tag="reranked"):
    """Scores for a Rerank."""

    id: int
    result: RerankResult


class Tokens(msgspec.Struct, frozen=True, array_like=True, tag="tokens"):
    """Ids for a Tokenize."""

    id: int
    tokens: tuple[int, ...]


class Counts(msgspec.Struct, frozen=True, array_like=True, tag="counts"):
    """Answer to a CountTokens."""

    id: int
    counts: tuple[int, ...]


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """Text for a Detokenize."""

    id: int
    text: str


class Pieces(msgspec.Struct, frozen=True, array_like=True, tag="pieces"):
    """Bytes for a Spell."""

    id: int
    pieces: tuple[bytes, ...]


FromWorker = (
    Ready | LoadFailure | Step | Failed | Embedded | Reranked | Tokens | Counts | Text | Pieces
)

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


def failure(request_id: int, error: ModelError) -> Failed:
    """The message that carries an error to the gateway, which raises it again."""
    numbers: tuple[float, ...] = ()
    if isinstance(error, ContextOverflow):
        numbers = (error.prompt_tokens, error.context)
    elif isinstance(error, QueueFull):
        numbers = (error.retry_after_s,)
    param = error.param if isinstance(error, InvalidRequest) else None
    return Failed(request_id, type(error).__name__, str(error), param, numbers)


def error_of(message: Failed) -> ModelError:
    """The error that `failure` was given."""
    text, numbers = message.message, message.numbers
    match message.error:
        case "ContextOverflow":
            param = message.param or "messages"
            return ContextOverflow(text, int(numbers[0]), int(numbers[1]), param)
        case "QueueFull":
            return QueueFull(text, numbers[0])
        case "Unsupported":
            return Unsupported(text, message.param)
        case "InvalidRequest":
            return InvalidRequest(text, message.param)
        case _:
            return ModelError(text)


def encode(message: ToWorker | FromWorker) -> bytes:
    """Message to msgpack."""
    return _encoder.encode(message)


def decode_to_worker(frame: bytes) -> ToWorker:
    """Decode what the gateway sent."""
    return _to_worker.decode(frame)


def decode_from_worker(frame: bytes) -> FromWorker:
    """Decode what the worker sent."""
    return _from_worker.decode(frame)
