"""Messages of the wire reduced to what a model reads."""

from typing import Any, cast

from gateway.errors import BadRequest
from gateway.schema.messages import AssistantMessage, Message, RefusalPart, TextPart
from models import types

__all__ = ["turns", "unsupported"]


def turns(messages: list[Message]) -> tuple[types.Message, ...]:
    """Messages reduced to text. Raises BadRequest for content that is not text."""
    return tuple(_turn(message, number) for number, message in enumerate(messages))


def unsupported(name: str) -> BadRequest:
    """What is not built yet, by name."""
    return BadRequest(f"'{name}' is not supported yet.", name, "unsupported_parameter")


def _turn(message: Message, number: int) -> types.Message:
    place = f"messages[{number}]"
    if isinstance(message, AssistantMessage):
        _refuse_assistant_extras(message, place)
    role = cast("Any", message).__struct_config__.tag
    text = _text(message.content, f"{place}.content")
    return types.Message("system" if role == "developer" else role, text)


def _refuse_assistant_extras(message: AssistantMessage, place: str) -> None:
    for name in ("audio", "tool_calls", "function_call"):
        if getattr(message, name) not in (None, [], {}):
            raise unsupported(f"{place}.{name}")


def _text(content: Any, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    found: list[str] = []
    for number, part in enumerate(content):
        if isinstance(part, TextPart):
            found.append(part.text)
        elif isinstance(part, RefusalPart):
            found.append(part.refusal)
        else:
            kind = part.__struct_config__.tag
            message = f"'{place}[{number}]' is of type '{kind}'; only text is supported yet."
            raise BadRequest(message, f"{place}[{number}].type", "unsupported_parameter")
    return "".join(found)
