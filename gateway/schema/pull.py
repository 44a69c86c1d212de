"""POST /models/pull."""

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["PullRequest"]


class PullRequest(Struct, frozen=True, kw_only=True):
    """What to fetch: a model's id, `ID:QUANT`, or `hf:ORG/REPO…`."""

    model: Annotated[str, Meta(min_length=1, max_length=400)]
