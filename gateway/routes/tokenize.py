"""POST /tokenize and /detokenize."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.body import read_json
from gateway.convert.tokenize import answer, engine_request, with_pieces
from gateway.deadline import finished_within
from gateway.disconnect import until_disconnect
from gateway.errors import BadRequest
from gateway.runtime import Runtime
from gateway.schema.tokenize import DetokenizedText, DetokenizeRequest, TokenizeRequest
from models.engine import Engine
from models.types import TokenizeRequest as EngineRequest

__all__ = ["detokenize", "tokenize"]


@post("/tokenize")
async def tokenize(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Token ids of a text or a chat, in the dialect of the question."""
    server = runtime.settings.server
    body = await read_json(request, TokenizeRequest, server.max_body_bytes)
    asked, spell = engine_request(body), with_pieces(body)
    engine = _engine(runtime, body.model)
    work = finished_within(server.request_timeout_s, _tokens(engine, asked, spell))
    tokens, pieces = await until_disconnect(request.receive, work)
    found = answer(body, tokens, pieces, engine.stats().context)
    return ASGIResponse(body=msgspec.json.encode(found), media_type="application/json")


@post("/detokenize")
async def detokenize(request: Request[Any, Any, Any], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The text of token ids, control tokens spelled out."""
    server = runtime.settings.server
    body = await read_json(request, DetokenizeRequest, server.max_body_bytes)
    engine = _engine(runtime, body.model)
    work = finished_within(server.request_timeout_s, engine.detokenize(body.tokens, special=True))
    text = await until_disconnect(request.receive, work)
    found = DetokenizedText(content=text, prompt=text)
    return ASGIResponse(body=msgspec.json.encode(found), media_type="application/json")


async def _tokens(
    engine: Engine, asked: EngineRequest, spell: bool
) -> tuple[list[int], list[bytes] | None]:
    """The ids, and each one's bytes if they are to be spelled."""
    tokens = await engine.tokenize(asked)
    return tokens, await engine.spell(tokens) if spell else None


def _engine(runtime: Runtime, model: str | None) -> Engine:
    """The model asked for; the only one that generates, where none is named."""
    if model is None:
        registry = runtime.registry
        known = [one for one in registry.ids() if registry.settings(one).kind in ("chat", "fake")]
        if len(known) != 1:
            message = f"Missing required parameter: 'model'. Models: {', '.join(known)}."
            raise BadRequest(message, "model", "missing_required_parameter")
        model = known[0]
    return runtime.engine(model, "tokenisation")
