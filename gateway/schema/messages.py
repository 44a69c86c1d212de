"""The messages of a chat request. A role or a part's type picks the Struct."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.schema.tools import FunctionCall, ToolCall

__all__ = [
    "AssistantMessage",
    "AudioPart",
    "DeveloperMessage",
    "FilePart",
    "FunctionMessage",
    "ImagePart",
    "Message",
    "RefusalPart",
    "SystemMessage",
    "TextContent",
    "TextPart",
    "ToolMessage",
    "UserMessage",
]


class TextPart(Struct, frozen=True, tag="text", tag_field="type"):
    """A piece of text."""

    text: str


class RefusalPart(Struct, frozen=True, tag="refusal", tag_field="type"):
    """A refusal that the assistant gave before."""

    refusal: str


class ImagePart(Struct, frozen=True, tag="image_url", tag_field="type"):
    """Known, so that the refusal can say what it is; no model here reads images."""

    image_url: Any = None


class AudioPart(Struct, frozen=True, tag="input_audio", tag_field="type"):
    """Known, so that the refusal can say what it is."""

    input_audio: Any = None


class FilePart(Struct, frozen=True, tag="file", tag_field="type"):
    """Known, so that the refusal can say what it is."""

    file: Any = None


TextContent = str | Annotated[list[TextPart], Meta(min_length=1)]
UserContent = str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Meta(min_length=1)]
AssistantContent = str | Annotated[list[TextPart | RefusalPart], Meta(min_length=1)] | None


class SystemMessage(Struct, frozen=True, kw_only=True, tag="system", tag_field="role"):
    """How the model is to behave."""

    content: TextContent
    name: str | None = None


class DeveloperMessage(Struct, frozen=True, kw_only=True, tag="developer", tag_field="role"):
    """What newer clients call a system message."""

    content: TextContent
    name: str | None = None


class UserMessage(Struct, frozen=True, kw_only=True, tag="user", tag_field="role"):
    """What the user says."""

    content: UserContent
    name: str | None = None


class AssistantMessage(Struct, frozen=True, kw_only=True, tag="assistant", tag_field="role"):
    """What the model said before, and what it called. `reasoning_content` are its thoughts."""

    content: AssistantContent = None
    name: str | None = None
    refusal: str | None = None
    audio: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None


class ToolMessage(Struct, frozen=True, kw_only=True, tag="tool", tag_field="role"):
    """What a tool answered."""

    content: TextContent
    tool_call_id: str


class FunctionMessage(Struct, frozen=True, kw_only=True, tag="function", tag_field="role"):
    """What a function answered, by the older protocol."""

    content: TextContent | None
    name: str


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)
