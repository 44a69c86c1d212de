"""/v1/conversations: items that responses read and add to."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.schema.vector_stores import Metadata

__all__ = [
    "Conversation",
    "ConversationDeleted",
    "CreateConversationRequest",
    "CreateItemsRequest",
    "UpdateConversationRequest",
]

MOST_AT_ONCE = 20
Items = Annotated[list[dict[str, Any]], Meta(max_length=MOST_AT_ONCE)]


class CreateConversationRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation and what it begins with."""

    items: Items | None = None
    metadata: Metadata | None = None


class UpdateConversationRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The metadata that replaces what is there; null empties it."""

    metadata: Metadata | None


class CreateItemsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items to put at the end, all or none."""

    items: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class Conversation(Struct, frozen=True, kw_only=True):
    """A conversation without its items."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"


class ConversationDeleted(Struct, frozen=True, kw_only=True):
    """The conversation is gone; the responses in it stay."""

    id: str
    deleted: bool = True
    object: Literal["conversation.deleted"] = "conversation.deleted"
