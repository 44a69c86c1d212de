"""The OpenAPI document, made from the Structs that the routes decode and encode."""

import re
from functools import cache
from typing import Any

import msgspec

from gateway.operation import Operation
from gateway.operations_of_documents import DOCUMENT_OPERATIONS
from gateway.operations_of_responses import RESPONSE_OPERATIONS
from gateway.schema.chat import ChatCompletion, ChatCompletionChunk, ChatRequest
from gateway.schema.common import ErrorResponse
from gateway.schema.completions import Completion, CompletionChunk, CompletionRequest
from gateway.schema.embeddings import EmbeddingList, EmbeddingRequest
from gateway.schema.health import Health, Ready
from gateway.schema.models import Model, ModelList
from gateway.schema.pull import PullRequest
from gateway.schema.rerank import Reranking, RerankRequest
from gateway.schema.router import Done, ModelRef, Reloaded, RouterModelList
from gateway.schema.tokenize import (
    ContentTokens,
    DetokenizedText,
    DetokenizeRequest,
    PromptTokens,
    TokenizeRequest,
)
from gateway.version import VERSION
from models.pull_events import Progress, Pulled

__all__ = ["OPERATIONS", "document"]

REFERENCE = "#/components/schemas/{name}"


OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "Answer a conversation, with one model or with an ensemble over documents",
        "Chat",
        ChatCompletion,
        ChatRequest,
        ChatCompletionChunk,
        (400, 401, 404, 413, 429, 500, 503, 504),
    ),
    Operation(
        "post",
        "/v1/completions",
        "createCompletion",
        "Continue raw text",
        "Completions",
        Completion,
        CompletionRequest,
        CompletionChunk,
        (400, 401, 404, 413, 429, 500, 503, 504),
    ),
    Operation(
        "post",
        "/tokenize",
        "tokenize",
        "Token ids of a text or a chat",
        "Tokens",
        PromptTokens,
        TokenizeRequest,
        errors=(400, 401, 404, 413, 500, 503, 504),
        other_answer=ContentTokens,
    ),
    Operation(
        "post",
        "/detokenize",
        "detokenize",
        "Text of token ids",
        "Tokens",
        DetokenizedText,
        DetokenizeRequest,
        errors=(400, 401, 404, 413, 500, 503, 504),
    ),
    Operation(
        "post",
        "/v1/embeddings",
        "createEmbedding",
        "Embed texts or token ids",
        "Embeddings",
        EmbeddingList,
        EmbeddingRequest,
        None,
        (400, 401, 404, 413, 429, 500, 503, 504),
    ),
    *(
        Operation(
            "post",
            path,
            name,
            "Rate documents against a query",
            "Embeddings",
            Reranking,
            RerankRequest,
            None,
            (400, 401, 404, 413, 429, 500, 503, 504),
        )
        for path, name in (("/v1/rerank", "rerank"), ("/rerank", "rerankUnversioned"))
    ),
    Operation(
        "get",
        "/v1/models",
        "listModels",
        "Every model and ensemble",
        "Models",
        ModelList,
        errors=(401,),
    ),
    Operation(
        "get",
        "/v1/models/{model}",
        "retrieveModel",
        "One model; its id may contain slashes",
        "Models",
        Model,
        errors=(401, 404),
    ),
    Operation(
        "post",
        "/models/pull",
        "pullModel",
        "Fetch a model from a hub; events are `Progress`, the last one is `Pulled` or an error",
        "Models",
        Pulled,
        PullRequest,
        Progress,
        (400, 401, 403, 404, 413, 502, 503, 507),
    ),
    Operation(
        "get",
        "/models",
        "listRouterModels",
        "Every model of the catalog and whether it is loaded, as llama-server's router tells it",
        "Models",
        RouterModelList,
        errors=(401,),
    ),
    Operation(
        "post",
        "/models/load",
        "loadModel",
        "Begin to load a model, or an ensemble's models",
        "Models",
        Done,
        ModelRef,
        errors=(400, 401, 403, 404, 429, 503),
    ),
    Operation(
        "post",
        "/models/unload",
        "unloadModel",
        "Unload a model, or an ensemble's, once its requests are done",
        "Models",
        Done,
        ModelRef,
        errors=(400, 401, 403, 404),
    ),
    Operation(
        "post",
        "/models/reload",
        "reloadModels",
        "Read configs/models and configs/ensembles again; an error in them changes nothing",
        "Models",
        Reloaded,
        errors=(400, 401, 403),
    ),
    *RESPONSE_OPERATIONS,
    *DOCUMENT_OPERATIONS,
    Operation("get", "/health", "health", "The state of everything", "State", Health, public=True),
    Operation(
        "get",
        "/ready",
        "ready",
        "200 once all models to be loaded at the start are and all stores are filled",
        "State",
        Ready,
        errors=(503,),
        public=True,
    ),
)

REASONS = {
    400: "The request is wrong; `param` names where",
    401: "No API key, or an unknown one",
    403: "The store may be searched with this key, but not changed; managing models takes an "
    "administrator's key; or the model hub asks for a licence to be accepted, or for a token",
    404: "There is no such model, store, file, upload, batch, response or conversation",
    409: "The same is being done already",
    413: "The body is too large",
    429: "Too many requests are waiting; see Retry-After",
    500: "The server failed",
    502: "The model hub cannot be reached, or sent something wrong",
    503: "The model is not available now; see Retry-After",
    504: "The request took too long",
    507: "The gateway's disk has no room",
}


@cache
def document() -> bytes:
    """The document as JSON."""
    kinds: set[type[msgspec.Struct]] = {ErrorResponse}
    for each in OPERATIONS:
        found = (each.answer, each.other_answer, each.body, each.chunk)
        kinds.update(kind for kind in found if kind is not None)
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Jurat",
                "version": VERSION,
                "description": "An OpenAI-compatible gateway for local models. Errors always "
                "have the body `ErrorResponse`, and every answer has `x-request-id`.",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"key": []}],
        }
    )


def _operation(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/octet-stream": {}}
    if operation.answer is not None:
        schema: dict[str, Any] = _reference(operation.answer)
        if operation.other_answer is not None:
            schema = {"anyOf": [schema, _reference(operation.other_answer)]}
        content = {"application/json": {"schema": schema}}
    if operation.chunk is not None:
        content["text/event-stream"] = {"schema": _reference(operation.chunk)}
    answers: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    for status in operation.errors:
        answers[str(status)] = {
            "description": REASONS[status],
            "content": {"application/json": {"schema": _reference(ErrorResponse)}},
        }
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": answers,
    }
    if operation.body is not None:
        kind = "multipart/form-data" if operation.form else "application/json"
        body = {kind: {"schema": _reference(operation.body)}}
        found["requestBody"] = {"required": True, "content": body}
    text = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"{(\w+)}", operation.path)
    ] + [{"name": name, "in": "query", "schema": text} for name in operation.query]
    if parameters:
        found["parameters"] = parameters
    if operation.public:
        found["security"] = []
    return found


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=kind.__name__)}
