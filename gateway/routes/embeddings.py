"""POST /v1/embeddings."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import UNSET

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.embeddings import embedding_items, embedding_rows
from gateway.deadline import finished_within
from gateway.disconnect import until_disconnect
from gateway.runtime import Runtime
from gateway.schema.embeddings import EmbeddingList, EmbeddingRequest, EmbeddingUsage
from models.types import EmbedRequest

__all__ = ["create_embeddings"]


@post("/v1/embeddings")
async def create_embeddings(
    request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """Embed texts or token ids, in order."""
    server = runtime.settings.server
    body = await read_json(request, EmbeddingRequest, server.max_body_bytes)
    items = embedding_items(body)
    engine = runtime.engine(body.model, "embeddings")
    asked = EmbedRequest(items, owner=owner_of(request.scope))
    work = finished_within(server.request_timeout_s, engine.embed(asked))
    result = await until_disconnect(request.receive, work)
    tokens = sum(result.token_counts)
    answer = EmbeddingList(
        data=embedding_rows(result, body.dimensions, body.encoding_format),
        model=body.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens, cost=result.cost or UNSET),
    )
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")
