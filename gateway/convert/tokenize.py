"""Text and token ids between the wire and the engines."""

from collections.abc import Sequence

from gateway.convert.chat import chat_prompt
from gateway.convert.messages import unsupported
from gateway.errors import BadRequest
from gateway.schema.chat import ChatRequest
from gateway.schema.tokenize import (
    MAX_CHARACTERS,
    ContentTokens,
    PromptTokens,
    SpelledToken,
    TokenizeRequest,
)
from models import types

__all__ = ["answer", "engine_request", "with_pieces"]

FORMS = ("content", "prompt", "messages")
OF_TEXT = ("add_special", "add_special_tokens", "parse_special")
OF_MESSAGES = ("tools", "tool_choice", "chat_template_kwargs", "reasoning_effort")


def engine_request(request: TokenizeRequest) -> types.TokenizeRequest:
    """What is to be tokenised. Raises BadRequest where not exactly one form is given."""
    given = [name for name in FORMS if getattr(request, name) is not None]
    if not given:
        message = "Nothing to tokenise: give 'content', 'prompt' or 'messages'."
        raise BadRequest(message, "content", "missing_required_parameter")
    if len(given) > 1:
        raise BadRequest(f"'{given[0]}' and '{given[1]}' exclude each other.", given[1])
    if request.add_generation_prompt is False:
        raise unsupported("add_generation_prompt")
    special = _either(request, "add_special", "add_special_tokens")
    if request.messages is not None:
        for name in OF_TEXT:
            if getattr(request, name):
                message = f"'{name}' is for text; the chat template decides it for 'messages'."
                raise BadRequest(message, name)
        return types.TokenizeRequest(_chat(request))
    for name in OF_MESSAGES:
        if getattr(request, name):
            raise BadRequest(f"'{name}' is for 'messages'; '{given[0]}' has no use for it.", name)
    text = request.content if request.content is not None else request.prompt
    assert text is not None
    return types.TokenizeRequest(
        types.TextPrompt(text),
        add_special=request.content is None if special is None else special,
        parse_special=bool(request.parse_special),
    )


def with_pieces(request: TokenizeRequest) -> bool:
    """Whether each token's text is asked for, by either name. Raises BadRequest."""
    return bool(_either(request, "with_pieces", "return_token_strs"))


def answer(
    request: TokenizeRequest,
    tokens: list[int],
    pieces: Sequence[bytes] | None,
    context: int | None,
) -> ContentTokens | PromptTokens:
    """In the dialect of the question; `pieces` are the tokens' bytes if they were asked for."""
    if request.content is None:
        texts = None if pieces is None else [each.decode("utf-8", "replace") for each in pieces]
        return PromptTokens(
            count=len(tokens), max_model_len=context, tokens=tokens, token_strs=texts
        )
    if pieces is None:
        return ContentTokens(tokens=[*tokens])
    return ContentTokens(
        tokens=[_spelled(token, piece) for token, piece in zip(tokens, pieces, strict=True)]
    )


def _chat(request: TokenizeRequest) -> types.ChatPrompt:
    """What a chat completion with the same fields would have the model read."""
    assert request.messages is not None
    found = chat_prompt(
        ChatRequest(
            model=request.model or "",
            messages=request.messages,
            tools=request.tools,
            tool_choice=request.tool_choice,
            chat_template_kwargs=request.chat_template_kwargs,
            reasoning_effort=request.reasoning_effort,
        )
    )
    size = _characters(found)
    if size > MAX_CHARACTERS:
        message = f"'messages' have {size} characters; at most {MAX_CHARACTERS} are taken."
        raise BadRequest(message, "messages", "invalid_value")
    return found


def _characters(prompt: types.ChatPrompt) -> int:
    """Of all that is written into a prompt."""
    texts = [value for _, value in prompt.variables]
    for message in prompt.messages:
        texts += [message.content, message.reasoning]
        texts += [call.arguments for call in message.tool_calls]
    for tool in prompt.tools:
        texts += [tool.description, tool.parameters]
    return sum(map(len, texts))


def _either(request: TokenizeRequest, one: str, other: str) -> bool | None:
    """A switch that has two names."""
    given: set[bool] = {getattr(request, one), getattr(request, other)} - {None}
    if len(given) > 1:
        raise BadRequest(f"'{one}' and '{other}' are one thing and differ.", one)
    return next(iter(given), None)


def _spelled(token: int, piece: bytes) -> SpelledToken:
    try:
        return SpelledToken(id=token, piece=piece.decode())
    except UnicodeDecodeError:
        return SpelledToken(id=token, piece=list(piece))
