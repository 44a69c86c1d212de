"""Parts that several routes share: ids, inputs, errors, timings."""

from typing import Annotated

from msgspec import Meta, Struct

__all__ = [
    "ErrorBody",
    "ErrorResponse",
    "Item",
    "ModelId",
    "Passages",
    "SourceEvent",
    "SourceName",
    "SourcePlace",
    "Status",
    "StatusEvent",
    "Timings",
    "TokenId",
]

ModelId = Annotated[str, Meta(min_length=1, max_length=256)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# msgspec takes one kind of list in a union, so `convert` checks that the items are of one kind.
Item = str | TokenId | list[TokenId]


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What went wrong; `param` is the path of the parameter at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """The body of every response whose status is 400 or above."""

    error: ErrorBody


class Status(Struct, frozen=True, kw_only=True):
    """What a stream waits for, and whether that is over."""

    description: str
    done: bool


class StatusEvent(Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """Progress inside a stream, as Open WebUI shows it. An extension."""

    data: Status


class SourceName(Struct, frozen=True, kw_only=True):
    """A document."""

    id: str
    name: str


class SourcePlace(Struct, frozen=True, kw_only=True):
    """A passage. Those of one `source` are shown as one."""

    source: str
    name: str


class Passages(Struct, frozen=True, kw_only=True):
    """Passages of one document, with how near each is to the question, 0..1."""

    source: SourceName
    document: list[str]
    metadata: list[SourcePlace]
    distances: list[float]


class SourceEvent(Struct, frozen=True, kw_only=True, tag_field="type", tag="source"):
    """A source inside a stream, as Open WebUI shows it: [n] is the n-th. An extension."""

    data: Passages


class Timings(Struct, frozen=True, kw_only=True):
    """Where the time of a request went. An extension beside `usage`."""

    queue_ms: float
    retrieval_ms: float
    vote_ms: float  # of processor time: reading, grounding, counting and citing answers
    prefill_ms: float
    decode_ms: float
    prompt_tokens: int
    cached_tokens: int  # of the prompt, not prefilled again
    completion_tokens: int
