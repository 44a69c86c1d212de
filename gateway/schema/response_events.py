"""The events of a streamed response, in OpenAI's words."""

from msgspec import Struct

from gateway.schema.chat import TokenLogprob
from gateway.schema.items import FileCitation, OutputText, ReasoningText, Refusal, StoredItem
from gateway.schema.responses import Response

__all__ = [
    "AnnotationAdded",
    "ArgumentsDelta",
    "ArgumentsDone",
    "ContentPartAdded",
    "ContentPartDone",
    "FailedToBegin",
    "FileSearchCompleted",
    "FileSearchInProgress",
    "FileSearchSearching",
    "ItemAdded",
    "ItemDone",
    "ReasoningDelta",
    "ReasoningDone",
    "RefusalDelta",
    "RefusalDone",
    "ResponseCompleted",
    "ResponseCreated",
    "ResponseEvent",
    "ResponseFailed",
    "ResponseInProgress",
    "ResponseIncomplete",
    "TextDelta",
    "TextDone",
]

OutputPart = OutputText | Refusal | ReasoningText


class ResponseEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all events have; numbers begin at 0 and have no gaps."""

    sequence_number: int


class _OfResponse(ResponseEvent, frozen=True, kw_only=True):
    response: Response


class ResponseCreated(_OfResponse, frozen=True, kw_only=True, tag="response.created"):
    """The first event."""


class ResponseInProgress(_OfResponse, frozen=True, kw_only=True, tag="response.in_progress"):
    """The second."""


class ResponseCompleted(_OfResponse, frozen=True, kw_only=True, tag="response.completed"):
    """The last, with all that there is."""


class ResponseIncomplete(_OfResponse, frozen=True, kw_only=True, tag="response.incomplete"):
    """The last, where the answer is cut off."""


class ResponseFailed(_OfResponse, frozen=True, kw_only=True, tag="response.failed"):
    """The last, where something broke."""


class FailedToBegin(ResponseEvent, frozen=True, kw_only=True, tag="error"):
    """The only event, where the request failed after its stream had begun to be waited for."""

    message: str
    code: str | None = None
    param: str | None = None


class _OfItem(ResponseEvent, frozen=True, kw_only=True):
    output_index: int
    item: StoredItem


class ItemAdded(_OfItem, frozen=True, kw_only=True, tag="response.output_item.added"):
    """An item begins."""


class ItemDone(_OfItem, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item is whole."""


class _InItem(ResponseEvent, frozen=True, kw_only=True):
    item_id: str
    output_index: int


class _InPart(_InItem, frozen=True, kw_only=True):
    content_index: int = 0


class ContentPartAdded(_InPart, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part of an item begins."""

    part: OutputPart


class ContentPartDone(_InPart, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part of an item is whole."""

    part: OutputPart


class TextDelta(_InPart, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More text."""

    delta: str
    logprobs: list[TokenLogprob] = []


class TextDone(_InPart, frozen=True, kw_only=True, tag="response.output_text.done"):
    """All of a text."""

    text: str
    logprobs: list[TokenLogprob] = []


class AnnotationAdded(
    _InPart, frozen=True, kw_only=True, tag="response.output_text.annotation.added"
):
    """A citation in the text."""

    annotation_index: int
    annotation: FileCitation


class RefusalDelta(_InPart, frozen=True, kw_only=True, tag="response.refusal.delta"):
    """More of why there is no answer."""

    delta: str


class RefusalDone(_InPart, frozen=True, kw_only=True, tag="response.refusal.done"):
    """Why there is no answer."""

    refusal: str


class ReasoningDelta(_InPart, frozen=True, kw_only=True, tag="response.reasoning_text.delta"):
    """More thoughts."""

    delta: str


class ReasoningDone(_InPart, frozen=True, kw_only=True, tag="response.reasoning_text.done"):
    """All thoughts of an item."""

    text: str


class ArgumentsDelta(
    _InItem, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """More of a call's arguments."""

    delta: str


class ArgumentsDone(
    _InItem, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """All arguments of a call."""

    name: str
    arguments: str


class FileSearchInProgress(
    _InItem, frozen=True, kw_only=True, tag="response.file_search_call.in_progress"
):
    """A search begins."""


class FileSearchSearching(
    _InItem, frozen=True, kw_only=True, tag="response.file_search_call.searching"
):
    """Stores are searched."""


class FileSearchCompleted(
    _InItem, frozen=True, kw_only=True, tag="response.file_search_call.completed"
):
    """A search is over."""
