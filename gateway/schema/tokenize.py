"""POST /tokenize and /detokenize, as llama-server and as vLLM have them."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.schema.chat import ReasoningEffort
from gateway.schema.common import ModelId, TokenId
from gateway.schema.messages import Message
from gateway.schema.tools import MAX_TOOLS, Tool, ToolChoice

__all__ = [
    "MAX_CHARACTERS",
    "ContentTokens",
    "DetokenizeRequest",
    "DetokenizedText",
    "PromptTokens",
    "SpelledToken",
    "TokenizeRequest",
]

MAX_CHARACTERS = 4_000_000  # about a million tokens
MAX_TOKENS = 1_000_000
Text = Annotated[str, Meta(max_length=MAX_CHARACTERS)]


class TokenizeRequest(Struct, frozen=True, kw_only=True):
    """One of `content` (llama-server's way), `prompt` and `messages` (vLLM's).

    Text that spells a control token stays text unless `parse_special` is true. `add_special` is
    false for `content` and true for `prompt` where nothing is said; `add_special_tokens` is
    vLLM's name for it, and `return_token_strs` for `with_pieces`. Messages are rendered with the
    model's chat template, which gets `tools` to `reasoning_effort` as in a chat completion.
    """

    model: ModelId | None = None
    content: Text | None = None
    prompt: Text | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None  # refused unless true
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None  # with "none" the prompt names no tools
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None


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

    tokens: Annotated[list[TokenId], Meta(max_length=MAX_TOKENS)]
    model: ModelId | None = None


class DetokenizedText(Struct, frozen=True, kw_only=True):
    """The text by both names: `content` is llama-server's, `prompt` vLLM's."""

    content: str
    prompt: str
