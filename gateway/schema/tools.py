"""Tools of a chat request, which of them to call, and the calls themselves."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "MAX_TOOLS",
    "AllowedTools",
    "FunctionCall",
    "FunctionCallDelta",
    "FunctionDefinition",
    "FunctionName",
    "NamedTool",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
]

MAX_TOOLS = 128
Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class FunctionDefinition(Struct, frozen=True, kw_only=True):
    """A function; its arguments always follow `parameters`, whatever `strict` says."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True, kw_only=True):
    """A tool that the model may call."""

    function: FunctionDefinition
    type: Literal["function"]


class FunctionName(Struct, frozen=True, kw_only=True):
    """Names a function."""

    name: str


class NamedTool(Struct, frozen=True, kw_only=True, tag="function", tag_field="type"):
    """This one must be called."""

    function: FunctionName


class AllowedTool(Struct, frozen=True, kw_only=True):
    """One of those that may be called."""

    function: FunctionName
    type: Literal["function"]


class Allowed(Struct, frozen=True, kw_only=True):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedTools(Struct, frozen=True, kw_only=True, tag="allowed_tools", tag_field="type"):
    """Only some of the tools may be called; the prompt lists all."""

    allowed_tools: Allowed


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


class FunctionCall(Struct, frozen=True, kw_only=True):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model made."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class FunctionCallDelta(Struct, frozen=True, kw_only=True):
    """A piece of a call: its name first, then the text of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    """A piece of call number `index`; the first one has its id, type and name."""

    index: int
    function: FunctionCallDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
