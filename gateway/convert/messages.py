"""Messages of the wire reduced to what a model reads."""

from typing import Any

from gateway.errors import BadRequest
from gateway.schema.messages import (
    AssistantMessage,
    FunctionMessage,
    Message,
    RefusalPart,
    TextPart,
    ToolMessage,
    UserMessage,
)
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
    text = _text(message.content, f"{place}.content")
    match message:
        case AssistantMessage():
            if message.audio is not None:
                raise unsupported(f"{place}.audio")
            calls = [
                types.ToolCall(call.id, call.function.name, call.function.arguments)
                for call in message.tool_calls or ()
            ]
            if message.function_call is not None:
                called = message.function_call
                calls.append(types.ToolCall(called.name, called.name, called.arguments))
            return types.Message(
                "assistant",
                text or message.refusal or "",
                tuple(calls),
                name=message.name or "",
                reasoning=message.reasoning_content or "",
            )
        case ToolMessage():
            return types.Message("tool", text, tool_call_id=message.tool_call_id)
        case FunctionMessage():
            return types.Message("tool", text, tool_call_id=message.name, name=message.name)
        case UserMessage():
            return types.Message("user", text, name=message.name or "")
        case _:
            return types.Message("system", text, name=message.name or "")


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
