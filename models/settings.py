"""One model's settings, as written in configs/models/NAME.toml."""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from models.errors import InvalidRequest
from models.upstream_settings import UpstreamSettings

__all__ = [
    "KVType",
    "Lora",
    "ModelSettings",
    "SamplingDefaults",
    "Seconds",
    "Shape",
    "at_precision",
]

# What is beyond these is a slip: better said of the field than met as an overflow later.
PositiveInt = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Billions = Annotated[float, Meta(gt=0, le=1e6)]
Seconds = Annotated[float, Meta(gt=0, le=366 * 86_400)]
NonEmpty = Annotated[str, Meta(min_length=1)]
KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]

QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class SamplingDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Used where a request says nothing; None leaves the API's own default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None


class Lora(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA adapter in GGUF, applied to every request of the model."""

    source: NonEmpty  # as a model's
    scale: Annotated[float, Meta(ge=-1000, le=1000)] = 1.0


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model file's header would say: memory is estimated from it where there is no file.

    All names are those of the model's config.json, in short.
    """

    layers: Annotated[int, Meta(ge=1, le=1024)]
    embedding: PositiveInt  # width of a token's vector between layers
    heads: PositiveInt
    kv_heads: PositiveInt | None = None  # None: as many as heads
    head_dim: PositiveInt | None = None  # None: embedding / heads
    vocabulary: PositiveInt
    parameters: Annotated[int, Meta(ge=1, le=10**15)] | None = (
        None  # how many, all experts'; None: from parameters_b
    )
    feed_forward: PositiveInt | None = None  # None: four times embedding
    experts: PositiveInt | None = None
    experts_used: PositiveInt | None = None  # of them, by one token
    context: PositiveInt | None = None  # that it was trained for
    sliding_window: PositiveInt | None = None  # tokens; None: every layer sees all
    sliding_window_pattern: PositiveInt | None = None  # every nth layer sees all; None: no layer
    tied_embeddings: bool = False  # one matrix for input and output


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model: what it is, where it comes from and how it runs.

    `kind` "chat" is a GGUF file run by llama.cpp, "embedding" a sentence-transformers folder or a
    GGUF file, "rerank" a cross-encoder's folder or GGUF file, "fake" a deterministic stand-in for
    tests that loads nothing. With a source of `upstream:URL` another server runs it.
    An embedding model uses `context`, `gpu_layers` and `threads`; one in a folder, `threads`.
    """

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: Literal["chat", "embedding", "rerank", "fake"]
    source: str = ""
    quant: str = ""  # which file of an `hf:org/repo` source: "Q4_K_M"
    revision: str = ""  # of an `hf:` source: a branch, tag or commit; empty: its main branch
    name: str = ""  # what people are shown; empty: the id
    description: str = ""
    notes: str = ""  # for whoever reads the list of models
    parameters_b: Billions | None = None  # in billions, all experts'
    parameters_estimated: bool = False  # nobody has published the number
    aliases: list[NonEmpty] = field(default_factory=list[str])  # other ids that requests may use
    # Tokens a request may use; None: what it was trained for. A GGUF embedding model: tokens of an
    # input that are read at once; None: at most 2,048 of them.
    context: PositiveInt | None = None
    # "unified": any request may use any of `kv_tokens` cells, and requests that begin alike share
    # them. "split": each of `parallel` requests has an equal part of them; faster where prompts are
    # long and have nothing in common.
    kv: Literal["unified", "split"] = "unified"
    kv_tokens: PositiveInt | None = None  # None: twice `context`; split: `parallel` x
    kv_type: KVType = "f16"  # of keys and values; q8_0 takes half of f16's memory
    parallel: Annotated[int, Meta(ge=1, le=128)] = 8  # requests decoded at once
    max_concurrent: PositiveInt | None = None  # requests taken at once; None: they queue
    max_waiting: PositiveInt = 64  # requests that may queue before 429
    share_prefixes: bool = True  # False saves memory where the model has a sliding window
    # "global": also between owners. Then how fast an answer begins tells whether anybody else has
    # sent the same beginning.
    prefix_scope: Literal["owner", "global"] = "owner"
    prefix_cache_mb: Annotated[int, Meta(ge=0, le=2**31 - 1)] = (
        512  # host memory for prompts seen; 0: none
    )
    # "auto": as many as fit the memory plan; -1: all; without a GPU it means nothing.
    gpu_layers: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | Literal["auto"] = "auto"
    gpus: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]] | None = (
        None  # indexes it may use; None: the plan says
    )
    # How much of the model each of its GPUs gets, in parts of the sum; None: the plan says.
    tensor_split: list[Annotated[float, Meta(ge=0, le=1e6)]] | None = None
    # Where llama.cpp draws the tokens of requests without grammars, penalties or logprobs itself;
    # "auto": where the logits are on a GPU.
    backend_sampling: Literal["auto", "on", "off"] = "auto"
    threads: PositiveInt | None = None  # None: every core this process may use
    lora: list[Lora] = field(default_factory=list[Lora])
    chat_template: str | None = None  # Jinja text; None: the model's own
    max_tokens: PositiveInt | None = None  # default length of an answer; None: to the context's end
    sampling: SamplingDefaults = SamplingDefaults()
    upstream: UpstreamSettings | None = None  # how to reach a source of `upstream:URL`
    small: bool = False  # ensembles constrain a small model's values to spans of the passages
    idle_timeout_s: Seconds | None = None  # unloaded when unused for so long; None: as [models]
    pin: bool = False  # never unloaded to make room for others
    preload: bool | None = None  # loaded at the start; None: as [models]
    # Embedding models only.
    query_prompt: str | None = None  # stands before a query; None: the model's own
    document_prompt: str | None = None
    pooling: Literal["mean", "cls", "last"] | None = None  # None: the model's own
    dimensions: PositiveInt | None = None  # a vector's first so many, of length one again
    # A sentence-transformers folder may bring Python code. It would run with your rights.
    trust_remote_code: bool = False
    shape: Shape | None = None

    def __post_init__(self) -> None:
        if self.quant and not QUANT.fullmatch(self.quant):
            raise ValueError(f"quant: '{self.quant}' is no precision; one is Q4_K_M")
        if self.gpus is not None and (not self.gpus or len(set(self.gpus)) < len(self.gpus)):
            raise ValueError("gpus names each GPU once, and one at least; without it, leave it out")
        if self.tensor_split is not None:
            if not sum(self.tensor_split) > 0:
                raise ValueError("tensor_split: the parts must not sum to zero")
            if self.gpus is not None and len(self.gpus) != len(self.tensor_split):
                raise ValueError(
                    f"tensor_split has {len(self.tensor_split)} parts for {len(self.gpus)} gpus"
                )


def at_precision(settings: ModelSettings, quant: str) -> ModelSettings:
    """The model at another precision, with an id of its own: `ID:QUANT`.

    Raises InvalidRequest for a model that is one file, and for what is no precision.
    """
    wanted = quant.upper()
    if not QUANT.fullmatch(quant):
        raise InvalidRequest(f"'{quant}' is no precision; one is Q4_K_M.", "model")
    repository = _repository(settings.source)
    if repository is None:
        raise InvalidRequest(
            f"The model '{settings.id}' comes from '{settings.source}', which has one precision; "
            "only an hf: source has others.",
            "model",
        )
    return replace(
        settings,
        id=f"{settings.id}:{wanted}",
        source=f"hf:{repository}",
        quant=wanted,
        aliases=[],
        preload=False,
    )


def _repository(source: str) -> str | None:
    """`org/repo` of an hf: source, whichever file of it is named."""
    scheme, _, rest = source.partition(":")
    parts = rest.partition(":")[0].split("/")
    return "/".join(parts[:2]) if scheme == "hf" and len(parts) >= 2 else None
