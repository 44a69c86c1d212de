"""POST /tokenize and /detokenize, as llama-server and as vLLM have them."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.schema.common import ModelId, TokenId
from gateway.schema.messages import Message

__all__ = [
    "ContentTokens",
    "DetokenizeRequest",
    "DetokenizedText",
    "PromptTokens",
    "SpelledToken",
    "TokenizeRequest",
]


class TokenizeRequest(Struct, frozen=True, kw_only=True):
    """One of `content` (llama-server's way), `prompt` and `messages` (vLLM's).

    Text that spells a control token stays text unless `parse_special` is true. `add_special` is
    false for `content` and true for `prompt` where nothing is said; `add_special_tokens` is
    vLLM's name for it. Messages are rendered with the model's chat template.
    """

    model: ModelId | None = None
    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None  # refused unless true


class SpelledToken(Struct, frozen=True, kw_only=True):
    """A token and its text, or its bytes where they are not whole characters."""

    id: int
    piece: str | list[int]


class ContentTokens(Struct, frozen=True, kw_only=True):
    """The answer to `content`."""

    tokens: list[int | SpelledToken]


class PromptTokens(Struct, frozen=True, kw_only=True):
    """The answer to `prompt` or `messages`."""

    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Struct, frozen=True, kw_only=True):
    """Token ids of the model's vocabulary."""

    tokens: list[TokenId]
    model: ModelId | None = None


class DetokenizedText(Struct, frozen=True, kw_only=True):
    """The text by both names: `content` is llama-server's, `prompt` vLLM's."""

    content: str
    prompt: str
