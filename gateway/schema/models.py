"""GET /v1/models."""

from typing import Literal

from msgspec import Struct

__all__ = ["Model", "ModelList"]


class Model(Struct, frozen=True, kw_only=True):
    """A model or an ensemble. `name`, `kind`, `state` and `description` are extensions."""

    id: str
    created: int  # Unix seconds: when this gateway started
    owned_by: str
    name: str
    kind: Literal["chat", "embedding", "rerank", "fake", "ensemble"]
    state: Literal["unloaded", "loading", "ready", "failed", "stopped"]
    description: str
    object: Literal["model"] = "model"


class ModelList(Struct, frozen=True, kw_only=True):
    """All of them; there are no pages."""

    data: list[Model]
    object: Literal["list"] = "list"
