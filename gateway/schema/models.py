"""GET /v1/models."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.schema.health import Memory

__all__ = ["Model", "ModelList"]


class Model(Struct, frozen=True, kw_only=True):
    """A model or an ensemble. What follows `owned_by` are extensions.

    `memory` is a model's, `execution` an ensemble's; both as in /health.
    """

    id: str
    created: int  # Unix seconds: when this gateway started
    owned_by: str
    name: str
    kind: Literal["chat", "embedding", "rerank", "fake", "ensemble"]
    state: Literal["unloaded", "loading", "ready", "failed", "stopped"]
    description: str
    memory: Memory | UnsetType = UNSET
    execution: Literal["parallel", "sequential", "swapped"] | UnsetType = UNSET
    object: Literal["model"] = "model"


class ModelList(Struct, frozen=True, kw_only=True):
    """All of them; there are no pages."""

    data: list[Model]
    object: Literal["list"] = "list"
