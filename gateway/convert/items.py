"""Items of responses and conversations, from the wire and as the messages of a chat."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from gateway.body import convert
from gateway.errors import BadRequest
from gateway.schema.items import (
    FileSearchCall,
    FunctionCallItem,
    FunctionCallOutput,
    InputText,
    Item,
    MessageItem,
    OutputText,
    ReasoningItem,
    Refusal,
    StoredItem,
)
from gateway.schema.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from gateway.schema.tools import FunctionCall, ToolCall

__all__ = [
    "items_of",
    "last_question",
    "messages_of",
    "new_item_id",
    "settled",
    "text_of",
]

PREFIXES: Mapping[type, str] = {
    MessageItem: "msg",
    FunctionCallItem: "fc",
    FunctionCallOutput: "fco",
    ReasoningItem: "rs",
    FileSearchCall: "fs",
}


def items_of(given: str | Sequence[Mapping[str, Any]] | None, place: str) -> list[Item]:
    """What a request says at `place`, checked. Raises BadRequest."""
    if given is None:
        return []
    if isinstance(given, str):
        return [MessageItem(role="user", content=given)]
    return [_item(raw, f"{place}[{number}]") for number, raw in enumerate(given)]


def settled(item: StoredItem) -> StoredItem:
    """The item as it is kept and shown: with an id, a status, and its content in parts."""
    item = replace(item, id=item.id or new_item_id(type(item)), status=item.status or "completed")
    if not isinstance(item, MessageItem) or not isinstance(item.content, str):
        return item
    text = item.content
    said = OutputText(text=text) if item.role == "assistant" else InputText(text=text)
    return replace(item, content=[said])


def new_item_id(kind: type[StoredItem]) -> str:
    """An id that says nothing of how many there are."""
    return f"{PREFIXES[kind]}_{secrets.token_hex(16)}"


def messages_of(items: Iterable[StoredItem]) -> list[Message]:
    """The items as a chat: what an assistant thought, said and called in one turn is one message.

    Searches are left out: their passages are found anew for each question.
    """
    found: list[Message] = []
    turn = _Turn()
    for item in items:
        match item:
            case ReasoningItem():
                turn = turn.before(found, fresh=turn.spoken)
                parts = item.content or item.summary
                turn.thoughts += "".join(part.text for part in parts)
            case MessageItem(role="assistant"):
                turn = turn.before(found, fresh=turn.spoken)
                turn.text = text_of(item.content)
                turn.spoken = True
            case FunctionCallItem():
                function = FunctionCall(name=item.name, arguments=item.arguments)
                turn.calls.append(ToolCall(id=item.call_id, function=function))
                turn.spoken = True
            case FunctionCallOutput():
                turn = turn.before(found, fresh=True)
                content = text_of(item.output)
                found.append(ToolMessage(content=content, tool_call_id=item.call_id))
            case MessageItem():
                turn = turn.before(found, fresh=True)
                kind = {"user": UserMessage, "system": SystemMessage}.get(
                    item.role, DeveloperMessage
                )
                found.append(kind(content=text_of(item.content)))
            case FileSearchCall():
                pass
    turn.before(found, fresh=True)
    return found


def last_question(items: Iterable[StoredItem]) -> str:
    """What the user said last; empty where they said nothing."""
    said = [item for item in items if isinstance(item, MessageItem) and item.role == "user"]
    return text_of(said[-1].content).strip() if said else ""


def text_of(content: str | Iterable[Any]) -> str:
    """The text of a message, or of a call's output."""
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, Refusal) else part.text for part in content)


class _Turn:
    """An assistant's turn that is being put together."""

    def __init__(self) -> None:
        self.thoughts = ""
        self.text = ""
        self.calls: list[ToolCall] = []
        self.spoken = False  # has a text or a call: a text that follows is another turn's

    def before(self, found: list[Message], *, fresh: bool) -> "_Turn":
        """This turn, or, after it was put into `found`, the next one."""
        if not fresh:
            return self
        if self.spoken or self.thoughts:
            found.append(
                AssistantMessage(
                    content=self.text,
                    tool_calls=self.calls or None,
                    reasoning_content=self.thoughts or None,
                )
            )
        return _Turn()


def _item(raw: Mapping[str, Any], place: str) -> Item:
    """One item. A message and a reference may lack their type."""
    kind = raw.get("type")
    if kind is None:
        if "role" not in raw and "id" not in raw:
            message = f"Missing required parameter: '{place}.type'."
            raise BadRequest(message, f"{place}.type", "missing_required_parameter")
        kind = "message" if "role" in raw else "item_reference"
    item: Item = convert({**raw, "type": kind}, Item, place)
    if isinstance(item, MessageItem) and not isinstance(item.content, str):
        _check_parts(item.content, f"{place}.content")
    if isinstance(item, FunctionCallOutput) and not isinstance(item.output, str):
        _check_parts(item.output, f"{place}.output")
    return item


def _check_parts(parts: Sequence[Any], place: str) -> None:
    """Raises BadRequest for a part that is not text."""
    for number, part in enumerate(parts):
        if not isinstance(part, InputText | OutputText | Refusal):
            kind = part.__struct_config__.tag
            where = f"{place}[{number}]"
            message = f"'{where}' is of type '{kind}'; only text is supported yet."
            raise BadRequest(message, f"{where}.type", "unsupported_parameter")
