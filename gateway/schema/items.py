"""Items of responses and conversations: what is said, thought, called and searched.

One set of Structs for what comes in and what goes out. What comes in may lack an id and a status,
and may say its content as a text; `gateway.convert.items` settles that.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.schema.chat import TokenLogprob
from gateway.schema.vector_stores import Attributes

__all__ = [
    "FileCitation",
    "FileResult",
    "FileSearchCall",
    "FunctionCallItem",
    "FunctionCallOutput",
    "InputFile",
    "InputImage",
    "InputText",
    "Item",
    "ItemId",
    "ItemList",
    "ItemReference",
    "ItemStatus",
    "MessageItem",
    "OutputText",
    "Part",
    "ReasoningItem",
    "ReasoningText",
    "Refusal",
    "StoredItem",
    "SummaryText",
]

ItemId = Annotated[str, Meta(min_length=1, max_length=128)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
CallId = Annotated[str, Meta(min_length=1, max_length=256)]


class InputText(Struct, frozen=True, kw_only=True, tag="input_text", tag_field="type"):
    """What a user, a system or a developer says."""

    text: str


class InputImage(Struct, frozen=True, kw_only=True, tag="input_image", tag_field="type"):
    """Known, so that the refusal can say what it is; no model here reads images."""


class InputFile(Struct, frozen=True, kw_only=True, tag="input_file", tag_field="type"):
    """Known, so that the refusal can say what it is; files are searched in vector stores."""


class FileCitation(Struct, frozen=True, kw_only=True):
    """A passage of a file. `index` is where its [n] begins in the text, in code points."""

    file_id: str
    filename: str
    index: int
    type: Literal["file_citation"] = "file_citation"


class OutputText(Struct, frozen=True, kw_only=True, tag="output_text", tag_field="type"):
    """What the model says. `annotations` are `FileCitation`s; others that come in are kept."""

    text: str
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] = []


class Refusal(Struct, frozen=True, kw_only=True, tag="refusal", tag_field="type"):
    """Why there is no answer."""

    refusal: str


Part = InputText | InputImage | InputFile | OutputText | Refusal


class MessageItem(Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """A message of anyone's."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: ItemId | None = None
    status: ItemStatus | None = None


class FunctionCallItem(Struct, frozen=True, kw_only=True, tag="function_call", tag_field="type"):
    """A call that the model made; `arguments` is JSON text."""

    call_id: CallId
    name: str
    arguments: str
    id: ItemId | None = None
    status: ItemStatus | None = None


class FunctionCallOutput(
    Struct, frozen=True, kw_only=True, tag="function_call_output", tag_field="type"
):
    """What the client's function answered."""

    call_id: CallId
    output: str | list[InputText | InputImage | InputFile]
    id: ItemId | None = None
    status: ItemStatus | None = None


class SummaryText(Struct, frozen=True, kw_only=True, tag="summary_text", tag_field="type"):
    """A summary of thoughts that another server made."""

    text: str


class ReasoningText(Struct, frozen=True, kw_only=True, tag="reasoning_text", tag_field="type"):
    """Thoughts in the model's own words."""

    text: str


class ReasoningItem(Struct, frozen=True, kw_only=True, tag="reasoning", tag_field="type"):
    """What a model thought before it answered, or how an ensemble deliberated."""

    summary: list[SummaryText] = []
    content: list[ReasoningText] | None = None
    id: ItemId | None = None
    status: ItemStatus | None = None


class FileResult(Struct, frozen=True, kw_only=True):
    """A passage that was found; `score` is from 0 to 1."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: Attributes | None = None


class FileSearchCall(Struct, frozen=True, kw_only=True, tag="file_search_call", tag_field="type"):
    """A search in vector stores. `results` only where they were asked for."""

    queries: list[str]
    results: list[FileResult] | None = None
    id: ItemId | None = None
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"] | None = None


class ItemReference(Struct, frozen=True, kw_only=True, tag="item_reference", tag_field="type"):
    """An item that is kept here, by its id."""

    id: ItemId


StoredItem = MessageItem | FunctionCallItem | FunctionCallOutput | ReasoningItem | FileSearchCall
Item = StoredItem | ItemReference


class ItemList(Struct, frozen=True, kw_only=True):
    """A page of items."""

    data: list[StoredItem]
    first_id: str
    last_id: str
    has_more: bool
    object: Literal["list"] = "list"
