"""llama-server's router endpoints: GET /models, POST /models/load, /models/unload; and /reload."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["Done", "ModelRef", "ModelStatus", "Reloaded", "RouterModel", "RouterModelList"]


class ModelRef(Struct, frozen=True, kw_only=True):
    """Which model to load or unload; an ensemble stands for its members' models."""

    model: Annotated[str, Meta(min_length=1)]


class Done(Struct, frozen=True, kw_only=True):
    """The model is being loaded, or unloaded as soon as it is idle; GET /models tells when."""

    success: bool = True


class ModelStatus(Struct, frozen=True, kw_only=True):
    """`failed` is only there where it is true, with the reason and the end of the log."""

    value: Literal["unloaded", "loading", "loaded"]
    args: list[str] = []  # of a llama-server process: there is none
    failed: bool | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    log_tail: str | UnsetType = UNSET


class RouterModel(Struct, frozen=True, kw_only=True):
    """A model or an ensemble. What follows `status` are extensions."""

    id: str
    created: int  # Unix seconds: when this gateway started
    owned_by: str
    status: ModelStatus
    kind: Literal["chat", "embedding", "rerank", "fake", "ensemble"]
    aliases: list[str]
    downloaded: bool
    object: Literal["model"] = "model"


class RouterModelList(Struct, frozen=True, kw_only=True):
    """All of them, those included whose files are not here."""

    data: list[RouterModel]
    object: Literal["list"] = "list"


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload of configs/models and configs/ensembles changed, by ids."""

    added: list[str]
    removed: list[str]
    changed: list[str]
