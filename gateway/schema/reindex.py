"""POST /stores/reindex."""

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["ReindexRequest"]


class ReindexRequest(Struct, frozen=True, kw_only=True):
    """Whose indexes to build anew: stores by id or name, of all owners; null for all."""

    stores: Annotated[list[str], Meta(max_length=10_000)] | None = None
