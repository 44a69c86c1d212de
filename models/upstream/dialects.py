"""What each kind of server knows beside OpenAI's own parameters. Plain data."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from models.upstream_settings import Server

__all__ = ["DIALECTS", "Dialect"]


class Dialect(Struct, frozen=True, kw_only=True):
    """One kind of server.

    `sampling` are names of `models.types.Sampling` and what they are called there. `explicit`
    servers have defaults of their own for them, so they are told even what is neutral.
    """

    sampling: Mapping[str, str]
    explicit: bool = False
    max_tokens: str = "max_tokens"
    constraints: frozenset[str] = frozenset({"json_schema"})
    grammar: Literal["text", "tagged", "structured_outputs"] = "text"  # how it is given one
    tokenizer: Literal["vllm", "llama-server"] | None = None
    template: bool = False  # takes chat_template_kwargs, and thoughts of earlier turns
    deterministic: bool = False
    flex: bool = False
    suffix: bool = False  # fills in between two texts
    logits: bool = False  # its relevance scores are logits, not probabilities


DIALECTS: Mapping[Server, Dialect] = {
    # Newer models of OpenAI refuse `max_tokens`.
    "openai": Dialect(sampling={}, max_tokens="max_completion_tokens", flex=True, suffix=True),
    "openrouter": Dialect(
        sampling={name: name for name in ("top_k", "min_p", "repetition_penalty")}
    ),
    "vllm": Dialect(
        sampling={name: name for name in ("top_k", "min_p", "repetition_penalty", "ignore_eos")},
        explicit=True,
        constraints=frozenset({"json_schema", "gbnf", "regex"}),
        grammar="structured_outputs",
        tokenizer="vllm",
        template=True,
    ),
    "llama-server": Dialect(
        sampling={
            "top_k": "top_k",
            "min_p": "min_p",
            "typical_p": "typical_p",
            "repetition_penalty": "repeat_penalty",
            "ignore_eos": "ignore_eos",
        },
        explicit=True,
        constraints=frozenset({"json_schema", "gbnf"}),
        tokenizer="llama-server",
        template=True,
        logits=True,
    ),
    "jurat": Dialect(
        sampling={
            name: name
            for name in ("top_k", "min_p", "typical_p", "repetition_penalty", "ignore_eos")
        },
        explicit=True,
        constraints=frozenset({"json_schema", "gbnf", "lark", "regex"}),
        grammar="tagged",
        tokenizer="vllm",
        template=True,
        deterministic=True,
        flex=True,
        suffix=True,
    ),
}
