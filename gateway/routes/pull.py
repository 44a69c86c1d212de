"""POST /models/pull: fetch a model's files from a hub, with progress as server-sent events."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from gateway.auth import admins_only
from gateway.body import read_json
from gateway.errors import BadRequest
from gateway.runtime import Runtime
from gateway.schema.pull import PullRequest
from gateway.sse import EventStream, Prefetch, event
from models.errors import SourceError
from models.hub_names import Reference, references_of
from models.pull_events import Progress, Pulled
from models.pulls import Pulls

__all__ = ["pull_model"]


@post("/models/pull", guards=[admins_only])
async def pull_model(
    request: Request[Any, Any, Any],
    runtime: NamedDependency[Runtime],
    pulls: NamedDependency[Pulls],
) -> ASGIApp:
    """Begin to pull, or join a pull of the same source that runs."""
    server = runtime.settings.server
    body = await read_json(request, PullRequest, server.max_body_bytes)
    try:
        references = references_of(body.model, runtime.registry.settings)
    except SourceError as error:
        raise BadRequest(str(error), "model", "invalid_value") from error
    prefetch = Prefetch(_one_by_one(pulls, references))
    # What fails at once, a repository that is not there say, has a status of its own.
    await prefetch.wait(request.receive, server.keep_alive_s)
    return EventStream(_frames(prefetch), prefetch, server.keep_alive_s)


async def _one_by_one(
    pulls: Pulls, references: Sequence[Reference]
) -> AsyncGenerator[Progress | Pulled, None]:
    """The progress of each, and the end of the last, which is the model itself."""
    for reference in references:
        async with aclosing(pulls.pull(reference)) as events:
            async for found in events:
                if isinstance(found, Progress) or reference is references[-1]:
                    yield found


async def _frames(source: Prefetch[Progress | Pulled]) -> AsyncGenerator[bytes, None]:
    async for found in source:
        yield event(msgspec.json.encode(found))
