"""GET /health and GET /ready."""

from typing import Literal

from msgspec import Struct

__all__ = ["EnsembleHealth", "Health", "Memory", "ModelHealth", "Ready", "StoreHealth"]


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes planned: of the host's memory, and of GPUs by their index."""

    host: int
    devices: dict[str, int]


class ModelHealth(Struct, frozen=True, kw_only=True):
    """`safe_mode`: the usual build crashed on this processor, so a slower path is used."""

    state: Literal["unloaded", "loading", "ready", "failed", "stopped"]
    detail: str
    safe_mode: bool
    running: int
    waiting: int
    restarts: int
    memory: Memory


class EnsembleHealth(Struct, frozen=True, kw_only=True):
    """An ensemble is as ready as its members and its stores.

    `execution` is how its members would run now: at once, one model after another, or one after
    another with a load between, where memory does not hold all.
    """

    state: Literal["loading", "ready", "failed"]
    detail: str
    execution: Literal["parallel", "sequential", "swapped"]


class StoreHealth(Struct, frozen=True, kw_only=True):
    """How far a store of gateway.toml is filled."""

    state: Literal["waiting", "ingesting", "ready", "failed"]
    detail: str


class Health(Struct, frozen=True, kw_only=True):
    """`loading` until all is ready, `degraded` once something has failed."""

    status: Literal["loading", "ok", "degraded"]
    version: str
    models: dict[str, ModelHealth]
    ensembles: dict[str, EnsembleHealth]
    stores: dict[str, StoreHealth]


class Ready(Struct, frozen=True, kw_only=True):
    """Everything is loaded and filled."""

    status: Literal["ok"] = "ok"
