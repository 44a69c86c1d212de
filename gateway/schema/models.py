"""GET /v1/models."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from gateway.schema.health import Memory

__all__ = ["Model", "ModelList"]


class Model(Struct, frozen=True, kw_only=True):
    """A model or an ensemble. What follows `owned_by` are extensions.

    `memory` is a model's, `execution` an ensemble's; both as in /health. `provider` is "upstream"
    where another server runs it, or a member of it. An ensemble's `parameters` are those of the
    models that it asks, each counted once; they are left out where they are not known.
    """

    id: str
    created: int  # Unix seconds: when this gateway started
    owned_by: str
    name: str
    kind: Literal["chat", "embedding", "rerank", "fake", "ensemble"]
    state: Literal["unloaded", "loading", "ready", "failed", "stopped"]
    description: str
    provider: Literal["local", "upstream"] = "local"
    parameters: int | UnsetType = UNSET
    parameters_estimated: bool | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    memory: Memory | UnsetType = UNSET
    execution: Literal["parallel", "sequential", "swapped"] | UnsetType = UNSET
    object: Literal["model"] = "model"


class ModelList(Struct, frozen=True, kw_only=True):
    """All of them; there are no pages."""

    data: list[Model]
    object: Literal["list"] = "list"
