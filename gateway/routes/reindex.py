"""POST /stores/reindex: what `jurat reindex` does, with progress as server-sent events."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from gateway.auth import admins_only
from gateway.body import read_json
from gateway.runtime import Runtime
from gateway.schema.reindex import ReindexRequest
from gateway.sse import EventStream, Prefetch, event
from retrieval.reindex import Reindexed, Reindexing

__all__ = ["reindex_stores"]


@post("/stores/reindex", guards=[admins_only])
async def reindex_stores(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Over all owners. It ends with the client: what is done by then stays."""
    server = runtime.settings.server
    body = await read_json(request, ReindexRequest, server.max_body_bytes)
    prefetch = Prefetch(runtime.library.reindex(body.stores))
    # A store that is not there, or a run beside another, has a status of its own.
    await prefetch.wait(request.receive, server.keep_alive_s)
    return EventStream(_frames(prefetch), prefetch, server.keep_alive_s)


async def _frames(source: Prefetch[Reindexing | Reindexed]) -> AsyncGenerator[bytes, None]:
    async for found in source:
        yield event(msgspec.json.encode(found))
