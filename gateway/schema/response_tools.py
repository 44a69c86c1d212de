"""Tools of a response: functions of the client's, and search in vector stores."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.schema.tools import Name
from gateway.schema.vector_stores import RankingOptions

__all__ = [
    "AllowedTool",
    "AllowedTools",
    "FileSearchChoice",
    "FileSearchTool",
    "FunctionChoice",
    "FunctionTool",
    "ResponseTool",
    "ToolChoice",
]

StoreId = Annotated[str, Meta(min_length=1, max_length=256)]


class FunctionTool(Struct, frozen=True, kw_only=True, tag="function", tag_field="type"):
    """A function; its arguments always follow `parameters`, whatever `strict` says."""

    name: Name
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class FileSearchTool(Struct, frozen=True, kw_only=True, tag="file_search", tag_field="type"):
    """Passages for the last user message; 10 at most unless said."""

    vector_store_ids: Annotated[list[StoreId], Meta(min_length=1, max_length=32)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: dict[str, Any] | None = None
    ranking_options: RankingOptions | None = None


ResponseTool = FunctionTool | FileSearchTool


class FunctionChoice(Struct, frozen=True, kw_only=True, tag="function", tag_field="type"):
    """This function must be called."""

    name: str


class FileSearchChoice(Struct, frozen=True, kw_only=True, tag="file_search", tag_field="type"):
    """The search alone; no function is called."""


class AllowedTool(Struct, frozen=True, kw_only=True):
    """One of those that may be used. A function has a name."""

    type: Literal["function", "file_search"]
    name: str | None = None


class AllowedTools(Struct, frozen=True, kw_only=True, tag="allowed_tools", tag_field="type"):
    """Only some of the tools may be used; the prompt lists all."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=128)]


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | FileSearchChoice | AllowedTools
