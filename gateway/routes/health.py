"""GET /health, for people and probes, and GET /ready, for balancers."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.errors import ApiError
from gateway.runtime import Runtime
from gateway.schema.health import EnsembleHealth, Health, ModelHealth, Ready, StoreHealth
from gateway.version import VERSION

__all__ = ["health", "ready"]


@get("/health")
async def health(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """200 while the process can answer, whatever the state of the models."""
    return ASGIResponse(body=msgspec.json.encode(report(runtime)), media_type="application/json")


@get("/ready")
async def ready(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """200 once every model is loaded and every store of gateway.toml is filled, else 503."""
    found = report(runtime)
    if found.status == "ok":
        return ASGIResponse(body=msgspec.json.encode(Ready()), media_type="application/json")
    parts = {"model": found.models, "ensemble": found.ensembles, "store": found.stores}
    waiting = [
        f"{kind} '{name}' is {entry.state}"
        for kind, entries in parts.items()
        for name, entry in entries.items()
        if entry.state != "ready"
    ]
    raise ApiError(
        503,
        f"Not ready: {'; '.join(waiting)}.",
        kind="server_error",
        code=f"status_{found.status}",
        headers={"Retry-After": "1"},
    )


def report(runtime: Runtime) -> Health:
    """A reading of everything now."""
    models = {
        name: ModelHealth(
            state=stats.state,
            detail=stats.detail,
            safe_mode=stats.safe_mode,
            running=stats.running,
            waiting=stats.waiting,
            restarts=stats.restarts,
        )
        for name, stats in runtime.registry.stats().items()
    }
    ensembles: dict[str, EnsembleHealth] = {}
    for name in runtime.ensembles:
        state, detail = runtime.ensemble_state(name)
        ensembles[name] = EnsembleHealth(state=state, detail=detail)
    stores = {
        name: StoreHealth(state=progress.state, detail=progress.detail)
        for name, progress in runtime.stores().items()
    }
    states = [entry.state for group in (models, ensembles, stores) for entry in group.values()]
    if "failed" in states or "stopped" in states:
        status = "degraded"
    else:
        status = "ok" if all(state == "ready" for state in states) else "loading"
    return Health(status=status, version=VERSION, models=models, ensembles=ensembles, stores=stores)
