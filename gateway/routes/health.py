"""GET /health, for people and probes, and GET /ready, for balancers."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.errors import ApiError
from gateway.runtime import Runtime
from gateway.schema.health import (
    EnsembleHealth,
    Health,
    Memory,
    ModelHealth,
    Ready,
    StoreHealth,
)
from gateway.version import VERSION
from models.footprint import Footprint

__all__ = ["health", "memory_of", "ready"]


@get("/health")
async def health(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """200 while the process can answer, whatever the state of the models."""
    return ASGIResponse(body=msgspec.json.encode(report(runtime)), media_type="application/json")


@get("/ready")
async def ready(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """200 once every model to be loaded at the start is, and every store of gateway.toml filled.

    Else 503. Models that are loaded on demand are not waited for.
    """
    found = report(runtime)
    if found.status == "ok":
        return ASGIResponse(body=msgspec.json.encode(Ready()), media_type="application/json")
    waiting = [
        f"model '{name}' is {entry.state}"
        for name, entry in found.models.items()
        if name in runtime.registry.required() or entry.state in ("failed", "stopped")
    ]
    for kind, entries in {"ensemble": found.ensembles, "store": found.stores}.items():
        waiting += [
            f"{kind} '{name}' is {entry.state}"
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


def memory_of(footprint: Footprint | None) -> Memory:
    """As the wire has it: GPUs by index."""
    found = footprint or Footprint()
    devices = {str(index): size for index, size in found.devices.items()}
    return Memory(host=found.host, devices=devices)


def _awaited(
    runtime: Runtime, ensembles: dict[str, EnsembleHealth], stores: dict[str, StoreHealth]
) -> bool:
    """Whether something is not there yet that ought to be, and is on its way."""
    if runtime.registry.required():
        return True
    return any(entry.state != "ready" for entry in (*ensembles.values(), *stores.values()))


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
            memory=memory_of(stats.memory),
        )
        for name, stats in runtime.registry.stats().items()
    }
    ensembles: dict[str, EnsembleHealth] = {}
    for name in runtime.ensembles:
        state, detail = runtime.ensemble_state(name)
        execution = runtime.schedule(runtime.ensembles[name].models).execution
        ensembles[name] = EnsembleHealth(state=state, detail=detail, execution=execution)
    stores = {
        name: StoreHealth(state=progress.state, detail=progress.detail)
        for name, progress in runtime.stores().items()
    }
    states = [entry.state for group in (models, ensembles, stores) for entry in group.values()]
    if "failed" in states or "stopped" in states:
        status = "degraded"
    else:
        status = "loading" if _awaited(runtime, ensembles, stores) else "ok"
    return Health(status=status, version=VERSION, models=models, ensembles=ensembles, stores=stores)
