"""GET /v1/models and /v1/models/{id}. They read what is known now and never cause a load."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import UNSET

from gateway.routes.health import memory_of
from gateway.runtime import Runtime
from gateway.schema.models import Model, ModelList
from models.errors import ModelError, ModelNotFound

__all__ = ["list_models", "retrieve_model"]


@get("/v1/models")
async def list_models(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Every model and ensemble."""
    return _json(ModelList(data=models(runtime)))


@get("/v1/models/{model:path}")
async def retrieve_model(runtime: NamedDependency[Runtime], model: FromPath[str]) -> ASGIApp:
    """One model; its id may contain slashes."""
    wanted = model.removeprefix("/")
    for entry in models(runtime):
        if entry.id == wanted:
            return _json(entry)
    runtime.find(wanted)
    known = runtime.registry.settings(wanted)  # by an alias, or at another precision
    for entry in models(runtime):
        if entry.id == known.id:
            return _json(entry)
    raise ModelNotFound(wanted)


def models(runtime: Runtime) -> list[Model]:
    """Ensembles first: they are what this gateway is for."""
    ensembles = [
        Model(
            id=name,
            created=runtime.started_at,
            owned_by="jurat",
            name=name,
            kind="ensemble",
            state=runtime.ensemble_state(name)[0],
            description=settings.description,
            execution=runtime.schedule(settings.models).execution,
            **_size(runtime, settings.models),
        )
        for name, settings in runtime.ensembles.items()
    ]
    stats = runtime.registry.stats()
    plain = [
        Model(
            id=name,
            created=runtime.started_at,
            owned_by="jurat",
            name=runtime.registry.settings(name).name or name,
            kind=runtime.registry.settings(name).kind,
            state=stats[name].state,
            description=runtime.registry.settings(name).description,
            memory=memory_of(stats[name].memory),
            notes=runtime.registry.settings(name).notes or UNSET,
            **_size(runtime, [name]),
        )
        for name in runtime.registry.ids()
    ]
    return ensembles + plain


def _size(runtime: Runtime, models: Sequence[str]) -> dict[str, Any]:
    """Of these models, each counted once: who runs them, and how many weights they have."""
    registry = runtime.registry
    try:
        known = {settings.id: settings for settings in map(registry.settings, models)}
    except ModelError:
        return {}  # a member that does not exist: nothing can be said of the whole
    upstream = any(settings.source.startswith("upstream:") for settings in known.values())
    found: dict[str, Any] = {"provider": "upstream" if upstream else "local"}
    counts = [registry.parameters(model) for model in known]
    sizes = [count for count, _ in counts if count is not None]
    if sizes and len(sizes) == len(counts):
        found["parameters"] = sum(sizes)
        found["parameters_estimated"] = any(estimated for _, estimated in counts)
    return found


def _json(answer: Model | ModelList) -> ASGIResponse:
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")
