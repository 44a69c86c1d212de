"""Text and token ids between the wire and the engines."""

from gateway.convert.messages import turns, unsupported
from gateway.errors import BadRequest
from gateway.schema.tokenize import SpelledToken, TokenizeRequest
from models import types

__all__ = ["engine_request", "spelled"]

FORMS = ("content", "prompt", "messages")


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
    special = {request.add_special, request.add_special_tokens} - {None}
    if len(special) > 1:
        message = "'add_special' and 'add_special_tokens' are one thing and differ."
        raise BadRequest(message, "add_special")
    if request.messages is not None:
        for name in ("add_special", "add_special_tokens", "parse_special"):
            if getattr(request, name):
                message = f"'{name}' is for text; the chat template decides it for 'messages'."
                raise BadRequest(message, name)
        return types.TokenizeRequest(types.ChatPrompt(turns(request.messages)))
    text = request.content if request.content is not None else request.prompt
    assert text is not None
    return types.TokenizeRequest(
        types.TextPrompt(text),
        add_special=next(iter(special), request.content is None) is True,
        parse_special=bool(request.parse_special),
    )


def spelled(token: int, piece: bytes) -> SpelledToken:
    """A token with its text."""
    try:
        return SpelledToken(id=token, piece=piece.decode())
    except UnicodeDecodeError:
        return SpelledToken(id=token, piece=list(piece))
