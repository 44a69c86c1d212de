"""llama-server's router endpoints, so that front-ends can load and unload models: Open WebUI's
buttons do. None but a load causes a load.
"""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import UNSET

from gateway.auth import admins_only
from gateway.body import read_json
from gateway.errors import BadRequest
from gateway.reload import Catalog
from gateway.runtime import Runtime
from gateway.schema.router import (
    Done,
    ModelRef,
    ModelStatus,
    Reloaded,
    RouterModel,
    RouterModelList,
)
from gateway.toml import ConfigError
from models.errors import ModelError, NotDownloaded, SourceError
from models.types import EngineStats

__all__ = ["list_router_models", "load_model", "reload_models", "unload_model"]


@get("/models")
async def list_router_models(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Every model of the catalog and every ensemble, with its status."""
    return _json(RouterModelList(data=models(runtime)))


@post("/models/load", guards=[admins_only])
async def load_model(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Begin to load a model, or an ensemble's; one that failed is tried again."""
    for model in await _named(request, runtime):
        runtime.registry.begin_load(model)
    return _json(Done())


@post("/models/unload", guards=[admins_only])
async def unload_model(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Unload a model, or an ensemble's, once the requests inside are done."""
    for model in await _named(request, runtime):
        runtime.registry.unload(model)
    return _json(Done())


@post("/models/reload", guards=[admins_only])
async def reload_models(catalog: NamedDependency[Catalog]) -> ASGIApp:
    """Read configs/models and configs/ensembles again. An error in them changes nothing."""
    try:
        done = await catalog.reload()
    except (ConfigError, SourceError) as error:
        raise BadRequest(str(error), code="invalid_configuration") from error
    return _json(Reloaded(added=[*done.added], removed=[*done.removed], changed=[*done.changed]))


async def _named(request: Request[Any, Any, Any], runtime: Runtime) -> tuple[str, ...]:
    """The models that a request names. Raises ModelNotFound, NotDownloaded."""
    body = await read_json(request, ModelRef, runtime.settings.server.max_body_bytes)
    named = runtime.ensembles.get(body.model)
    found = (body.model,) if named is None else named.models
    for model in found:
        runtime.find(model)
    return found


def models(runtime: Runtime) -> list[RouterModel]:
    """Ensembles first, as in /v1/models."""
    entries = [
        RouterModel(
            id=name,
            created=runtime.started_at,
            owned_by="jurat",
            status=_together([_member_status(runtime, model) for model in settings.models]),
            kind="ensemble",
            aliases=[],
            downloaded=all(_downloaded(runtime, model) for model in settings.models),
        )
        for name, settings in runtime.ensembles.items()
    ]
    for name in runtime.registry.catalog():
        settings = runtime.registry.settings(name)
        entries.append(
            RouterModel(
                id=name,
                created=runtime.started_at,
                owned_by="jurat",
                status=_member_status(runtime, name),
                kind=settings.kind,
                aliases=settings.aliases,
                downloaded=_downloaded(runtime, name),
            )
        )
    return entries


def _downloaded(runtime: Runtime, model: str) -> bool:
    try:
        return not isinstance(runtime.registry.absent(model), NotDownloaded)
    except ModelError:
        return False  # an ensemble's member at a precision that cannot be


def _status(stats: EngineStats) -> ModelStatus:
    match stats:
        case EngineStats(state="ready"):
            return ModelStatus(value="loaded")
        case EngineStats(state="loading"):
            return ModelStatus(value="loading")
        case EngineStats(state="failed"):
            tail = stats.log_tail or UNSET
            return ModelStatus(value="unloaded", failed=True, detail=stats.detail, log_tail=tail)
        case _:
            return ModelStatus(value="unloaded")


def _member_status(runtime: Runtime, model: str) -> ModelStatus:
    try:
        return _status(runtime.registry.get(model).stats())
    except NotDownloaded as error:
        return ModelStatus(value="unloaded", detail=str(error))
    except ModelError as error:
        return ModelStatus(value="unloaded", failed=True, detail=str(error))


def _together(members: list[ModelStatus]) -> ModelStatus:
    """As far as the last of them."""
    for member in members:
        if member.failed is True:
            return member
    values = {member.value for member in members}
    if values == {"loaded"}:
        return ModelStatus(value="loaded")
    return ModelStatus(value="loading" if "loading" in values else "unloaded")


def _json(answer: RouterModelList | Done | Reloaded) -> ASGIResponse:
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")
