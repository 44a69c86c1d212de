"""POST /v1/rerank, and /rerank for clients that leave out the version."""

import uuid
from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import UNSET

from gateway.auth import owner_of
from gateway.body import read_json
from gateway.convert.messages import unsupported
from gateway.deadline import finished_within
from gateway.disconnect import until_disconnect
from gateway.errors import BadRequest
from gateway.runtime import Runtime
from gateway.schema.rerank import (
    RerankDocument,
    Reranking,
    RerankRequest,
    RerankResult,
    RerankUsage,
)
from models import types

__all__ = ["rerank"]


@post(["/v1/rerank", "/rerank"])
async def rerank(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Rate documents against a query, and give the best."""
    server = runtime.settings.server
    body = await read_json(request, RerankRequest, server.max_body_bytes)
    for name in ("max_tokens_per_doc", "max_chunks_per_doc", "rank_fields"):
        if getattr(body, name) is not None:
            raise unsupported(name)
    if not body.query.strip():
        raise BadRequest("'query' must not be empty.", "query", "invalid_value")
    texts = tuple(each if isinstance(each, str) else each.text for each in body.documents)
    engine = runtime.engine(body.model, "reranking")
    asked = types.RerankRequest(body.query, texts, owner_of(request.scope))
    work = finished_within(server.request_timeout_s, engine.rerank(asked))
    result = await until_disconnect(request.receive, work)
    order = sorted(range(len(texts)), key=lambda at: -result.scores[at])
    answer = Reranking(
        id=f"rerank-{uuid.uuid4().hex}",
        model=body.model,
        results=[
            RerankResult(
                index=at,
                relevance_score=result.scores[at],
                document=RerankDocument(text=texts[at]) if body.return_documents else UNSET,
            )
            for at in order[: body.top_n]
        ],
        usage=RerankUsage(
            prompt_tokens=result.tokens, total_tokens=result.tokens, cost=result.cost or UNSET
        ),
    )
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")
