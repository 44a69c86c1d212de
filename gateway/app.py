"""The composition root: the only place that knows how the parts fit together."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NoReturn

from litestar import Litestar
from litestar.di import Provide

from gateway.auth import PUBLIC_PATHS, Authentication, KeyRing
from gateway.config_files import Configuration, load_configuration
from gateway.cors import CrossOrigin
from gateway.embedder import EngineEmbedder
from gateway.ensemble.pipeline import Ensemble
from gateway.ensemble.plan import Plan
from gateway.ensemble.settings import EnsembleSettings
from gateway.ensemble.trust import Trust, trust_file
from gateway.environment import hub_token, read_environment
from gateway.errors import on_exception
from gateway.http_protocol import head_as_get
from gateway.logs import AccessLog
from gateway.metrics import Metrics, RouteMetrics
from gateway.planning import Planning
from gateway.reload import Catalog
from gateway.responses.archive import Archive
from gateway.responses.responder import Responder
from gateway.routes.chat import create_chat_completion
from gateway.routes.completions import create_completion
from gateway.routes.conversations import (
    create_conversation,
    create_items,
    delete_conversation,
    delete_item,
    list_items,
    retrieve_conversation,
    retrieve_item,
    update_conversation,
)
from gateway.routes.docs import openapi_json, redoc, root, static_router, swagger_ui
from gateway.routes.embeddings import create_embeddings
from gateway.routes.files import (
    create_file,
    delete_file,
    list_files,
    retrieve_file,
    retrieve_file_content,
)
from gateway.routes.health import health, ready
from gateway.routes.metrics import metrics
from gateway.routes.models import list_models, retrieve_model
from gateway.routes.pull import pull_model
from gateway.routes.reindex import reindex_stores
from gateway.routes.rerank import rerank
from gateway.routes.responses import (
    cancel_response,
    count_input_tokens,
    create_response,
    delete_response,
    list_input_items,
    retrieve_response,
)
from gateway.routes.router import list_router_models, load_model, reload_models, unload_model
from gateway.routes.tokenize import detokenize, tokenize
from gateway.routes.uploads import (
    add_upload_part,
    cancel_upload,
    complete_upload,
    create_upload,
)
from gateway.routes.vector_store_files import (
    cancel_file_batch,
    create_file_batch,
    create_store_file,
    delete_store_file,
    list_batch_files,
    list_store_files,
    retrieve_file_batch,
    retrieve_store_file,
    retrieve_store_file_content,
    update_store_file,
)
from gateway.routes.vector_stores import (
    create_vector_store,
    delete_vector_store,
    list_vector_stores,
    retrieve_vector_store,
    search_vector_store,
    update_vector_store,
)
from gateway.runtime import NO_DOCUMENTS, Runtime
from gateway.seeding import Seeding
from gateway.toml import ConfigError
from models.engine import Engine
from models.errors import DownloadFailed, EngineUnavailable, QueueFull, Unsupported
from models.footprint import Footprint
from models.machine import read_machine
from models.pulls import Pulls
from models.registry import Registry, ResidencyLimits
from models.types import RerankRequest
from retrieval.errors import RetrievalError
from retrieval.library import Library
from retrieval.search import Rerank

__all__ = ["create_app"]

ROUTES = (
    create_chat_completion,
    create_completion,
    create_response,
    retrieve_response,
    delete_response,
    cancel_response,
    list_input_items,
    count_input_tokens,
    create_conversation,
    retrieve_conversation,
    update_conversation,
    delete_conversation,
    create_items,
    list_items,
    retrieve_item,
    delete_item,
    tokenize,
    detokenize,
    create_embeddings,
    rerank,
    list_models,
    retrieve_model,
    list_router_models,
    load_model,
    unload_model,
    reload_models,
    metrics,
    create_file,
    list_files,
    retrieve_file,
    delete_file,
    retrieve_file_content,
    create_upload,
    add_upload_part,
    complete_upload,
    cancel_upload,
    create_vector_store,
    list_vector_stores,
    retrieve_vector_store,
    update_vector_store,
    delete_vector_store,
    search_vector_store,
    create_store_file,
    list_store_files,
    retrieve_store_file,
    update_store_file,
    delete_store_file,
    retrieve_store_file_content,
    create_file_batch,
    retrieve_file_batch,
    cancel_file_batch,
    list_batch_files,
    pull_model,
    reindex_stores,
    health,
    ready,
    openapi_json,
    swagger_ui,
    redoc,
    root,
)
LEAST_STOP_S = 1.0
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_app(
    configuration: Configuration, *, engines: Mapping[str, Engine] | None = None
) -> Litestar:
    """The gateway as an ASGI application.

    `engines` stand in for the ones the settings of the same id would build. Raises SourceError,
    RetrievalError or ConfigError where something configured cannot be had.
    """
    server = configuration.settings.server
    auth = configuration.settings.auth
    keys = KeyRing(auth.keys, auth.admins)
    runtime, registry, responder, lifespan = _compose(configuration, engines)
    catalog = Catalog(
        registry,
        configuration,
        lambda: load_configuration(configuration.source),
        lambda found: runtime.replace(found.ensembles),
    )
    measured = Metrics(registry)
    pulls = Pulls(configuration.data_dir, _hub_environment)
    app = Litestar(
        route_handlers=[*ROUTES, static_router()],
        dependencies={
            "runtime": Provide(lambda: runtime, use_cache=True, sync_to_thread=False),
            "responder": Provide(lambda: responder, use_cache=True, sync_to_thread=False),
            "catalog": Provide(lambda: catalog, use_cache=True, sync_to_thread=False),
            "metrics": Provide(lambda: measured, use_cache=True, sync_to_thread=False),
            "pulls": Provide(lambda: pulls, use_cache=True, sync_to_thread=False),
        },
        exception_handlers={Exception: on_exception},
        lifespan=[lifespan],
        on_shutdown=[pulls.stop],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # gateway.body has the cap
    )
    # Around the router, so that unknown paths too need a key, get an id and are logged.
    public = {*PUBLIC_PATHS, "/metrics"} if server.public_metrics else PUBLIC_PATHS
    served = Authentication(app.asgi_handler, keys, public)
    measuring = head_as_get(RouteMetrics(served, measured))
    app.asgi_handler = AccessLog(CrossOrigin(measuring, server.cors_origins))
    app.state.reload = catalog.reload  # for SIGHUP
    return app


def _compose(
    configuration: Configuration, engines: Mapping[str, Engine] | None
) -> tuple[Runtime, Registry, Responder, Lifespan]:
    settings = configuration.settings

    def embedder() -> Engine:
        return registry.get(settings.retrieval.embedder)

    planning = Planning(configuration, read_machine())
    reranker = settings.retrieval.reranker

    async def order(query: str, texts: Sequence[str]) -> Sequence[float]:
        asked = RerankRequest(query, tuple(texts))
        return (await registry.get(reranker).rerank(asked)).scores

    library = _open_library(configuration, embedder, order if reranker else None)
    try:
        registry = Registry(
            configuration.models,
            configuration.data_dir,
            base=configuration.directory,
            engines=engines,
            limits=_limits(configuration, planning.plan.room),
            place=planning.fit,
            devices=planning.machine.devices,
        )
    except BaseException:
        if library is not None:
            library.close()
        raise
    seeding: Seeding | None = None
    if library is not None:
        seeding = Seeding(library, embedder, settings.stores, configuration.directory)
    search = library.search if library is not None else _no_search
    likeness = library.likeness if library is not None else _no_search
    overview = library.overview if library is not None else None

    trusts: dict[str, Trust] = {}

    def is_small(model: str) -> bool:
        return registry.settings(model).small

    def answering(model: str) -> Engine:
        if (kind := registry.settings(model).kind) in ("embedding", "rerank"):
            raise Unsupported(f"'{model}' is of kind '{kind}' and cannot answer.", "model")
        return registry.get(model)

    def build(entry: EnsembleSettings) -> Ensemble:
        if entry.id not in trusts:  # a reload forgets nothing
            trusts[entry.id] = Trust(trust_file(configuration.data_dir, entry.id))
        trust = trusts[entry.id]
        return Ensemble(entry, answering, search, likeness, is_small, schedule, overview, trust)

    def schedule(models: Sequence[str]) -> Plan:
        return runtime.schedule(models)

    runtime = Runtime(settings, registry, configuration.ensembles, build, seeding, library)
    responder = _open_responder(configuration, runtime, library)
    lifespan = _lifespan(registry, seeding, library, responder, settings.server.shutdown_s)
    return runtime, registry, responder, lifespan


def _limits(configuration: Configuration, room: Footprint) -> ResidencyLimits:
    settings = configuration.settings
    models, used = settings.models, bool(settings.stores or configuration.ensembles)
    return ResidencyLimits(
        budget=room,
        # Every question to an ensemble needs it first; to swap it out would cost two loads each.
        keep=frozenset([settings.retrieval.embedder] if used else ()),
        max_waiting=models.max_waiting,
        min_residency_s=models.min_residency_s,
        idle_timeout_s=models.idle_timeout_s,
        preload=None if models.preload is None else tuple(models.preload),
    )


def _open_library(
    configuration: Configuration, embedder: Callable[[], Engine], rerank: Rerank | None
) -> Library | None:
    """The documents, or None where no embedder is configured to search them with."""
    settings = configuration.settings.retrieval
    if settings.embedder not in configuration.models:
        return None
    adapter = EngineEmbedder(embedder, configuration.models[settings.embedder])
    away = (EngineUnavailable, QueueFull)
    return Library.open(configuration.data_dir, adapter, settings, away=away, rerank=rerank)


def _open_responder(
    configuration: Configuration, runtime: Runtime, library: Library | None
) -> Responder:
    """What is kept of responses and conversations. Nothing stays open if it cannot be had."""
    try:
        settings = configuration.settings.responses
        return Responder(runtime, Archive(configuration.data_dir, settings))
    except BaseException:
        if library is not None:
            library.close()
        raise


def _lifespan(
    registry: Registry,
    seeding: Seeding | None,
    library: Library | None,
    responder: Responder,
    shutdown_s: float,
) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
        try:
            await registry.start()
            if library is not None:
                library.start()
            if seeding is not None:
                seeding.start()
            yield
        finally:
            began = app.state.get("shutdown_began", _unknown)() or time.monotonic()
            deadline = max(began + shutdown_s, time.monotonic() + LEAST_STOP_S)
            # All three ask the engines, so they end before these; what is kept goes last.
            await responder.stop()
            if seeding is not None:
                await seeding.stop()
            if library is not None:
                await library.stop()
            await registry.stop(deadline - time.monotonic())
            responder.close()
            if library is not None:
                library.close()

    return lifespan


def _hub_environment() -> dict[str, str]:
    """For a process that pulls. Read for each, so that a new token needs no restart."""
    try:
        token = hub_token(read_environment(Path.cwd()))
    except ConfigError as error:
        raise DownloadFailed(str(error), "access_denied") from error
    return {"HF_TOKEN": token} if token else {}


def _unknown() -> float | None:
    """When the shutdown began, where no server has said it."""
    return None


async def _no_search(*args: object, **options: object) -> NoReturn:
    raise RetrievalError(NO_DOCUMENTS)
