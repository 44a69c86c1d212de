"""/v1/vector_stores, and search in them."""

from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.documents import (
    cursor,
    hybrid_weights,
    new_store,
    search_results,
    store_change,
    store_list,
    vector_store,
)
from gateway.deadline import finished_within
from gateway.disconnect import until_disconnect
from gateway.ensemble.rewrite import search_queries, writing
from gateway.routes.files import json_answer
from gateway.runtime import Runtime
from gateway.schema.vector_stores import (
    CreateStoreRequest,
    RankingOptions,
    SearchRequest,
    UpdateStoreRequest,
    VectorStoreDeleted,
)
from retrieval.filters import parse
from retrieval.types import Hit

__all__ = [
    "create_vector_store",
    "delete_vector_store",
    "list_vector_stores",
    "retrieve_vector_store",
    "search_vector_store",
    "update_vector_store",
]

MOST = 100  # stores a page
USUAL = 20
USUAL_RESULTS = 10


@post("/v1/vector_stores")
async def create_vector_store(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Make a store; files given with it are ingested in the background."""
    body = await read_json(request, CreateStoreRequest, runtime.settings.server.max_body_bytes)
    change, files = new_store(body)
    record = await runtime.library.catalog.create_store(owner_of(request.scope), change, files)
    return json_answer(vector_store(record))


@get("/v1/vector_stores")
async def list_vector_stores(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """The stores of the key's owner, and those that others let it search."""
    page = await runtime.library.catalog.store_page(
        owner_of(request.scope), cursor(request, MOST, USUAL)
    )
    return json_answer(store_list(page))


@get("/v1/vector_stores/{vector_store_id:str}")
async def retrieve_vector_store(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """One store."""
    record = await runtime.library.catalog.store(owner_of(request.scope), vector_store_id)
    return json_answer(vector_store(record))


@post("/v1/vector_stores/{vector_store_id:str}")
async def update_vector_store(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """Change its name, metadata, expiry or quota."""
    body = await read_json(request, UpdateStoreRequest, runtime.settings.server.max_body_bytes)
    record = await runtime.library.catalog.update_store(
        owner_of(request.scope), vector_store_id, store_change(body)
    )
    return json_answer(vector_store(record))


@delete("/v1/vector_stores/{vector_store_id:str}", status_code=200)
async def delete_vector_store(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """Remove a store; its files stay."""
    await runtime.library.catalog.delete_store(owner_of(request.scope), vector_store_id)
    return json_answer(VectorStoreDeleted(id=vector_store_id))


@post("/v1/vector_stores/{vector_store_id:str}/search")
async def search_vector_store(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """The best passages for a query, or for several."""
    server = runtime.settings.server
    body = await read_json(request, SearchRequest, server.max_body_bytes)
    library = runtime.library
    owner = owner_of(request.scope)
    # By its id only, as everywhere in this API; that it is known comes before all else.
    record = await library.catalog.store(owner, vector_store_id)
    options = body.ranking_options or RankingOptions()
    filters = parse(body.filters) if body.filters else None
    weights = hybrid_weights(options.hybrid_search, "ranking_options")
    queries = [body.query] if isinstance(body.query, str) else body.query
    writer = runtime.settings.retrieval.rewrite_model if body.rewrite_query else ""

    async def find() -> tuple[list[str], list[Hit]]:
        asked = queries
        if writer:
            asked = await search_queries(queries, writing(lambda: runtime.find(writer), owner))
        return asked, await library.search(
            asked,
            owner=owner,
            stores=[record.id],
            limit=body.max_num_results or USUAL_RESULTS,
            filters=filters,
            hybrid=weights,
        )

    work = finished_within(server.request_timeout_s, find())
    asked, hits = await until_disconnect(request.receive, work)
    return json_answer(search_results(asked, hits, options.score_threshold or 0.0))
