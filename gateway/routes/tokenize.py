"""POST /tokenize and /detokenize."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.body import read_json
from gateway.convert.tokenize import engine_request, spelled
from gateway.disconnect import until_disconnect
from gateway.errors import BadRequest
from gateway.runtime import Runtime
from gateway.schema.tokenize import (
    ContentTokens,
    DetokenizedText,
    DetokenizeRequest,
    PromptTokens,
    TokenizeRequest,
)
from models.engine import Engine

__all__ = ["detokenize", "tokenize"]


@post("/tokenize")
async def tokenize(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Token ids of a text or a chat, in the dialect of the question."""
    body = await read_json(request, TokenizeRequest, runtime.settings.server.max_body_bytes)
    asked = engine_request(body)
    engine = _engine(runtime, body.model)
    tokens = await until_disconnect(request.receive, engine.tokenize(asked))
    pieces: list[bytes] = []
    if body.with_pieces or body.return_token_strs:
        pieces = await until_disconnect(request.receive, engine.spell(tokens))
    answer: ContentTokens | PromptTokens
    if body.content is not None:
        if body.with_pieces:
            each = [spelled(token, piece) for token, piece in zip(tokens, pieces, strict=True)]
            answer = ContentTokens(tokens=[*each])
        else:
            answer = ContentTokens(tokens=[*tokens])
    else:
        strings = [piece.decode("utf-8", "replace") for piece in pieces]
        answer = PromptTokens(
            count=len(tokens),
            max_model_len=engine.stats().context,
            tokens=tokens,
            token_strs=strings if body.return_token_strs else None,
        )
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")


@post("/detokenize")
async def detokenize(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The text of token ids, control tokens spelled out."""
    body = await read_json(request, DetokenizeRequest, runtime.settings.server.max_body_bytes)
    engine = _engine(runtime, body.model)
    text = await until_disconnect(request.receive, engine.detokenize(body.tokens, special=True))
    answer = DetokenizedText(content=text, prompt=text)
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")


def _engine(runtime: Runtime, model: str | None) -> Engine:
    """The model asked for; the only one that generates, where none is named."""
    if model is None:
        registry = runtime.registry
        known = [one for one in registry.ids() if registry.settings(one).kind != "embedding"]
        if len(known) != 1:
            message = f"Missing required parameter: 'model'. Models: {', '.join(known)}."
            raise BadRequest(message, "model", "missing_required_parameter")
        model = known[0]
    return runtime.engine(model, "tokenisation")
