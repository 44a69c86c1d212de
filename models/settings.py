"""One model's settings, as written in configs/models/NAME.toml."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.upstream_settings import UpstreamSettings

__all__ = ["ModelSettings", "SamplingDefaults"]

PositiveInt = Annotated[int, Meta(ge=1)]


class SamplingDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Used where a request says nothing; None leaves the API's own default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None


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
    description: str = ""
    # Tokens a request may use; None: what it was trained for. A GGUF embedding model: tokens of an
    # input that are read at once; None: at most 2,048 of them.
    context: PositiveInt | None = None
    # "unified": any request may use any of `kv_tokens` cells, and requests that begin alike share
    # them. "split": each of `parallel` requests has an equal part of them; faster where prompts are
    # long and have nothing in common.
    kv: Literal["unified", "split"] = "unified"
    kv_tokens: PositiveInt | None = None  # None: twice `context`; split: `parallel` x
    parallel: Annotated[int, Meta(ge=1, le=128)] = 8  # requests decoded at once
    max_waiting: PositiveInt = 64  # requests that may queue before 429
    share_prefixes: bool = True  # False saves memory where the model has a sliding window
    # "global": also between owners. Then how fast an answer begins tells whether anybody else has
    # sent the same beginning.
    prefix_scope: Literal["owner", "global"] = "owner"
    prefix_cache_mb: Annotated[int, Meta(ge=0)] = 512  # host memory for prompts seen; 0: none
    gpu_layers: Annotated[int, Meta(ge=-1)] = -1  # -1: all; without a GPU it means nothing
    # Where llama.cpp draws the tokens of requests without grammars, penalties or logprobs itself;
    # "auto": where the logits are on a GPU.
    backend_sampling: Literal["auto", "on", "off"] = "auto"
    threads: PositiveInt | None = None  # None: every core this process may use
    chat_template: str | None = None  # Jinja text; None: the model's own
    max_tokens: PositiveInt | None = None  # default length of an answer; None: to the context's end
    sampling: SamplingDefaults = SamplingDefaults()
    upstream: UpstreamSettings | None = None  # how to reach a source of `upstream:URL`
    small: bool = False  # ensembles constrain a small model's values to spans of the passages
