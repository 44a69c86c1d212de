"""/v1/uploads: files that come in parts."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.documents import expires_s, filename, upload, upload_part
from gateway.errors import ApiError, BadRequest
from gateway.multipart import TOO_LARGE, read_form, too_large
from gateway.routes.files import json_answer
from gateway.runtime import Runtime
from gateway.schema.uploads import CompleteUploadRequest, CreateUploadRequest

__all__ = ["add_upload_part", "cancel_upload", "complete_upload", "create_upload"]

MOST_PART_BYTES = 64 << 20


@post("/v1/uploads")
async def create_upload(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Begin a file that will come in parts; there is an hour for them."""
    server = runtime.settings.server
    body = await read_json(request, CreateUploadRequest, server.max_body_bytes)
    if body.bytes > server.max_upload_bytes:
        raise too_large("bytes", server.max_upload_bytes)
    record = await runtime.library.catalog.create_upload(
        owner_of(request.scope),
        filename(body.filename, "filename"),
        body.purpose,
        body.bytes,
        body.mime_type,
        expires_s(body.expires_after),
    )
    return json_answer(upload(record))


@post("/v1/uploads/{upload_id:str}/parts")
async def add_upload_part(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], upload_id: FromPath[str]
) -> ASGIApp:
    """A part of at most 64 MB; parts may come side by side, in any order."""
    catalog = runtime.library.catalog
    owner = owner_of(request.scope)
    room = await catalog.upload_room(owner, upload_id)  # before anything is read
    with catalog.incoming() as content:
        try:
            await read_form(request, "data", content, min(room, MOST_PART_BYTES))
        except ApiError as error:
            if error.code != TOO_LARGE or room >= MOST_PART_BYTES:
                raise
            message = f"The upload was to get {room} more bytes; the part has more than that."
            raise BadRequest(message, "data", "invalid_value") from error
        part = await catalog.add_part(owner, upload_id, content)
    return json_answer(upload_part(part))


@post("/v1/uploads/{upload_id:str}/complete")
async def complete_upload(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], upload_id: FromPath[str]
) -> ASGIApp:
    """Make a file of the parts, in the order given."""
    limit = runtime.settings.server.max_body_bytes
    body = await read_json(request, CompleteUploadRequest, limit)
    record = await runtime.library.catalog.complete_upload(
        owner_of(request.scope), upload_id, body.part_ids, body.md5 or None
    )
    return json_answer(upload(record))


@post("/v1/uploads/{upload_id:str}/cancel")
async def cancel_upload(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], upload_id: FromPath[str]
) -> ASGIApp:
    """Give up an upload; its parts are removed."""
    record = await runtime.library.catalog.cancel_upload(owner_of(request.scope), upload_id)
    return json_answer(upload(record))
