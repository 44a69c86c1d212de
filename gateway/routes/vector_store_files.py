"""The files of a vector store, and batches of them."""

from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.documents import (
    attached,
    batch,
    batched,
    cursor,
    status_filter,
    store_file,
    store_file_list,
)
from gateway.routes.files import json_answer
from gateway.runtime import Runtime
from gateway.schema.vector_stores import (
    CreateBatchRequest,
    CreateStoreFileRequest,
    StoreFileDeleted,
    StoreFileTexts,
    TextContent,
    UpdateStoreFileRequest,
)

__all__ = [
    "cancel_file_batch",
    "create_file_batch",
    "create_store_file",
    "delete_store_file",
    "list_batch_files",
    "list_store_files",
    "retrieve_file_batch",
    "retrieve_store_file",
    "retrieve_store_file_content",
    "update_store_file",
]

MOST = 100  # files a page
USUAL = 20
# The SDK's helpers ask again after this; without it they wait for a second.
POLL = {"openai-poll-after-ms": "200"}


@post("/v1/vector_stores/{vector_store_id:str}/files")
async def create_store_file(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """Put a file into a store; it is ingested in the background."""
    limit = runtime.settings.server.max_body_bytes
    body = await read_json(request, CreateStoreFileRequest, limit)
    record = await runtime.library.catalog.attach(
        owner_of(request.scope), vector_store_id, attached(body)
    )
    return json_answer(store_file(record, runtime.settings.retrieval))


@get("/v1/vector_stores/{vector_store_id:str}/files")
async def list_store_files(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """The files of a store."""
    page = await runtime.library.catalog.store_file_page(
        owner_of(request.scope),
        vector_store_id,
        cursor(request, MOST, USUAL),
        status_filter(request),
    )
    return json_answer(store_file_list(page, runtime.settings.retrieval))


@get("/v1/vector_stores/{vector_store_id:str}/files/{file_id:str}")
async def retrieve_store_file(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    file_id: FromPath[str],
) -> ASGIApp:
    """One file of a store, and how far it is."""
    record = await runtime.library.catalog.store_file(
        owner_of(request.scope), vector_store_id, file_id
    )
    return json_answer(store_file(record, runtime.settings.retrieval), POLL)


@post("/v1/vector_stores/{vector_store_id:str}/files/{file_id:str}")
async def update_store_file(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    file_id: FromPath[str],
) -> ASGIApp:
    """Replace a file's attributes."""
    limit = runtime.settings.server.max_body_bytes
    body = await read_json(request, UpdateStoreFileRequest, limit)
    record = await runtime.library.catalog.set_attributes(
        owner_of(request.scope), vector_store_id, file_id, body.attributes or {}
    )
    return json_answer(store_file(record, runtime.settings.retrieval))


@delete("/v1/vector_stores/{vector_store_id:str}/files/{file_id:str}", status_code=200)
async def delete_store_file(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    file_id: FromPath[str],
) -> ASGIApp:
    """Take a file out of a store; it stays one of the owner's files."""
    await runtime.library.catalog.detach(owner_of(request.scope), vector_store_id, file_id)
    return json_answer(StoreFileDeleted(id=file_id))


@get("/v1/vector_stores/{vector_store_id:str}/files/{file_id:str}/content")
async def retrieve_store_file_content(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    file_id: FromPath[str],
) -> ASGIApp:
    """The text that a file was parsed to; nothing before it is completed."""
    catalog = runtime.library.catalog
    owner = owner_of(request.scope)
    record = await catalog.store_file(owner, vector_store_id, file_id)
    text = await catalog.store_file_text(owner, vector_store_id, file_id)
    return json_answer(
        StoreFileTexts(
            file_id=record.id,
            filename=record.filename,
            attributes=record.attributes,
            data=[TextContent(text=text)] if text else [],
        )
    )


@post("/v1/vector_stores/{vector_store_id:str}/file_batches")
async def create_file_batch(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
) -> ASGIApp:
    """Put files into a store, all or none; they are ingested in the background."""
    body = await read_json(request, CreateBatchRequest, runtime.settings.server.max_body_bytes)
    record = await runtime.library.catalog.create_batch(
        owner_of(request.scope), vector_store_id, batched(body)
    )
    return json_answer(batch(record))


@get("/v1/vector_stores/{vector_store_id:str}/file_batches/{batch_id:str}")
async def retrieve_file_batch(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    batch_id: FromPath[str],
) -> ASGIApp:
    """How far a batch is."""
    record = await runtime.library.catalog.batch(owner_of(request.scope), vector_store_id, batch_id)
    return json_answer(batch(record), POLL)


@post("/v1/vector_stores/{vector_store_id:str}/file_batches/{batch_id:str}/cancel")
async def cancel_file_batch(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    batch_id: FromPath[str],
) -> ASGIApp:
    """Do not ingest what of a batch is not completed yet."""
    record = await runtime.library.catalog.cancel_batch(
        owner_of(request.scope), vector_store_id, batch_id
    )
    return json_answer(batch(record))


@get("/v1/vector_stores/{vector_store_id:str}/file_batches/{batch_id:str}/files")
async def list_batch_files(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    vector_store_id: FromPath[str],
    batch_id: FromPath[str],
) -> ASGIApp:
    """The files of a batch."""
    page = await runtime.library.catalog.store_file_page(
        owner_of(request.scope),
        vector_store_id,
        cursor(request, MOST, USUAL),
        status_filter(request),
        batch_id,
    )
    return json_answer(store_file_list(page, runtime.settings.retrieval))
