"""/v1/files: what owners upload."""

import asyncio
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.auth import owner_of
from gateway.convert.documents import cursor, expires_s, file_list, file_object, filename
from gateway.errors import BadRequest
from gateway.multipart import read_form
from gateway.runtime import Runtime
from gateway.schema.files import FileDeleted, FileExpiration, FilePurpose
from retrieval.catalog import Content
from retrieval.errors import NotFound

__all__ = ["create_file", "delete_file", "list_files", "retrieve_file", "retrieve_file_content"]

MOST = 10_000  # files a page
PIECE = 1 << 16


@post("/v1/files")
async def create_file(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Upload a file; it is on disk when this answers."""
    catalog = runtime.library.catalog
    with catalog.incoming() as content:
        limit = runtime.settings.server.max_upload_bytes
        form = await read_form(request, "file", content, limit)
        purpose = _purpose(form.fields)
        seconds = _expiration(form.fields)
        name = filename(form.filename, "file")
        file = await catalog.create_file(
            owner_of(request.scope), content, name, purpose, expires_s(seconds)
        )
    return json_answer(file_object(file))


@get("/v1/files")
async def list_files(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The files of the key's owner."""
    page = await runtime.library.catalog.file_page(
        owner_of(request.scope),
        cursor(request, MOST, MOST),
        request.query_params.get("purpose") or None,
    )
    return json_answer(file_list(page))


@get("/v1/files/{file_id:str}")
async def retrieve_file(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], file_id: FromPath[str]
) -> ASGIApp:
    """One file."""
    file = await runtime.library.catalog.file(owner_of(request.scope), file_id)
    return json_answer(file_object(file))


@delete("/v1/files/{file_id:str}", status_code=200)
async def delete_file(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], file_id: FromPath[str]
) -> ASGIApp:
    """Remove a file, from all vector stores too."""
    await runtime.library.catalog.delete_file(owner_of(request.scope), file_id)
    return json_answer(FileDeleted(id=file_id))


@get("/v1/files/{file_id:str}/content")
async def retrieve_file_content(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime], file_id: FromPath[str]
) -> ASGIApp:
    """The bytes that were uploaded."""
    content = await runtime.library.catalog.file_content(owner_of(request.scope), file_id)
    return _Download(content)


class _Download:
    """A file's bytes, piece by piece; never shown by a browser, whatever is in them."""

    def __init__(self, content: Content) -> None:
        self._content = content
        name = quote(content.file.filename, safe="")
        self._headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(content.file.bytes).encode()),
            (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Opened before the answer begins: what is deleted meanwhile is still read to its end.
        try:
            opened = await asyncio.to_thread(self._content.path.open, "rb")
        except FileNotFoundError as error:
            raise NotFound("file", self._content.file.id) from error
        with opened as file:
            start: Any = {"type": "http.response.start", "status": 200, "headers": self._headers}
            await send(start)
            while piece := await asyncio.to_thread(file.read, PIECE):
                body: Any = {"type": "http.response.body", "body": piece, "more_body": True}
                await send(body)
            end: Any = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(end)


def json_answer(answer: msgspec.Struct, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A Struct as the body of an answer."""
    return ASGIResponse(
        body=msgspec.json.encode(answer), media_type="application/json", headers=headers
    )


def _purpose(fields: Mapping[str, str]) -> FilePurpose:
    given = fields.get("purpose")
    if given is None:
        message = "Missing required parameter: 'purpose'."
        raise BadRequest(message, "purpose", "missing_required_parameter")
    for known in get_args(FilePurpose):
        if given == known:
            return known
    message = f"purpose must be one of {', '.join(get_args(FilePurpose))}."
    raise BadRequest(message, "purpose", "invalid_value")


def _expiration(fields: Mapping[str, str]) -> FileExpiration | None:
    """`expires_after[anchor]` and `expires_after[seconds]`, as the SDK sends them."""
    given = {
        name: fields[f"expires_after[{name}]"]
        for name in ("anchor", "seconds")
        if f"expires_after[{name}]" in fields
    }
    if not given:
        return None
    try:
        return msgspec.convert(given, FileExpiration, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"Invalid value for 'expires_after': {error}.", "expires_after", "invalid_value"
        ) from error
