"""Every error a client sees: which status, type and code, and the one function that writes them.

ApiError            has everything a client is told
└── BadRequest      a 400 that names the parameter
ClientGone          the client hung up; nobody is left to tell
"""

import errno
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import Scope, Send

from gateway.schema.common import ErrorBody, ErrorResponse
from models import errors as model_errors
from retrieval import errors as retrieval_errors

__all__ = [
    "ApiError",
    "BadRequest",
    "ClientGone",
    "encode",
    "error_event",
    "on_exception",
    "send_error",
    "shutting_down",
    "to_api_error",
]

log = logging.getLogger("jurat.errors")

# The SDK would repeat any 5xx twice; this tells it that repeating will not help.
NO_RETRY = {"x-should-retry": "false"}
HUB_STATUS: dict[model_errors.DownloadCode, int] = {
    "access_denied": 403,
    "no_such_repository": 404,
    "no_such_file": 404,
    "rate_limited": 503,
    "unreachable": 502,
    "offline": 503,
    "checksum": 502,
    "disk_full": 507,
    "disk_error": 500,
}


class ApiError(Exception):
    """An error as the client will see it; `kind` is its `type` there."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


class BadRequest(ApiError):
    """The client's mistake; `param` is the path of what is wrong, `messages[0].content` say."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, code=code, param=param)


class ClientGone(Exception):
    """The client closed the connection; the work was cancelled and no answer can be sent."""


def to_api_error(error: Exception) -> ApiError:
    """The one place where errors of other packages become HTTP. Logs what it cannot explain."""
    match error:
        case ApiError():
            return error
        case model_errors.ModelError():
            return _from_models(error)
        case retrieval_errors.RetrievalError():
            return _from_retrieval(error)
        case HTTPException():
            return _from_http(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _disk_full()
        case ClientGone():
            return ApiError(499, "The client closed the request.", code="client_closed_request")
        case _:
            log.error("unexpected error", exc_info=error)
            return ApiError(
                500,
                "The server had an error while processing your request.",
                kind="server_error",
                code="internal_error",
            )


def shutting_down() -> ApiError:
    """What a request is told that the gateway's end broke off."""
    return _unavailable("The gateway is shutting down.", "shutting_down", 1.0)


def encode(error: ApiError) -> bytes:
    """The body of an error."""
    body = ErrorBody(message=error.message, type=error.kind, param=error.param, code=error.code)
    return msgspec.json.encode(ErrorResponse(error=body))


def error_event(error: Exception) -> bytes:
    """The JSON of an error inside a stream that has begun."""
    return encode(to_api_error(error))


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything."""
    found = to_api_error(error)
    if isinstance(error, NotFoundException | MethodNotAllowedException):
        found.message = f"{found.message} ({request.method} {request.scope['path']})"
    return Response(
        encode(found),
        status_code=found.status,
        headers=found.headers,
        media_type="application/json",
    )


async def send_error(scope: Scope, send: Send, error: Exception) -> None:
    """Answer with an error from outside Litestar."""
    found = to_api_error(error)
    body = encode(found)
    headers = [(name.encode(), value.encode()) for name, value in found.headers.items()]
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _disk_full() -> ApiError:
    message = "The gateway's disk is full."
    return ApiError(507, message, kind="server_error", code="disk_full", headers=NO_RETRY)


def _unavailable(message: str, code: str, retry_after_s: float | None = None) -> ApiError:
    headers = NO_RETRY if retry_after_s is None else _retry_after(retry_after_s)
    return ApiError(503, message, kind="server_error", code=code, headers=headers)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _from_models(error: model_errors.ModelError) -> ApiError:
    text = str(error)
    match error:
        case model_errors.ModelNotFound():
            return ApiError(404, text, code="model_not_found", param="model")
        case model_errors.NotDownloaded():
            return ApiError(404, text, code="model_not_downloaded", param="model")
        case model_errors.ContextOverflow():
            return BadRequest(text, error.param, "context_length_exceeded")
        case model_errors.Unsupported():
            return BadRequest(text, error.param, "unsupported_value")
        case model_errors.InvalidRequest():
            return BadRequest(text, error.param)
        case model_errors.QueueFull():
            headers = _retry_after(error.retry_after_s)
            return ApiError(429, text, kind="rate_limit_error", code="queue_full", headers=headers)
        case model_errors.EngineUnavailable():
            return _unavailable(text, "model_unavailable", error.retry_after_s)
        case model_errors.EngineCrashed():
            # Nobody repeats it: a request that kills a worker must not come back.
            return _unavailable(text, "model_crashed")
        case model_errors.RequestTimeout():
            # Repeating would do the same work a second time and be late again.
            return ApiError(504, text, kind="server_error", code="timeout", headers=NO_RETRY)
        case model_errors.DownloadFailed():
            return ApiError(HUB_STATUS[error.code], text, kind="hub_error", code=error.code)
        case model_errors.LoadFailed() | model_errors.SourceError():
            return _unavailable(text, "model_load_failed")
        case _:
            # May be repeated, and the SDK does: whoever shared a step that failed is innocent.
            return ApiError(500, text, kind="server_error", code="model_error")


def _from_retrieval(error: retrieval_errors.RetrievalError) -> ApiError:
    match error:
        case retrieval_errors.StoreReadOnly():
            return ApiError(403, str(error), code="permission_denied", param="vector_store_id")
        case retrieval_errors.StoreExpired():
            param = error.param or "vector_store_id"
            return ApiError(404, str(error), code="vector_store_expired", param=param)
        case retrieval_errors.NotFound():
            name = error.what.replace(" ", "_")
            param = error.param or f"{name}_id"
            return ApiError(404, str(error), code=f"{name}_not_found", param=param)
        case retrieval_errors.ReindexRuns():
            return ApiError(409, str(error), code="reindex_running")
        case retrieval_errors.IndexDamaged():  # and it could not be built anew
            log.error("an index cannot be used", exc_info=error)
            message = "The index of the store cannot be used now; the gateway's log says why."
            return _unavailable(message, "retrieval_unavailable")
        case retrieval_errors.DiskFull():
            return _disk_full()
        case retrieval_errors.QuotaExceeded():
            return BadRequest(str(error), error.param, "quota_exceeded")
        case retrieval_errors.InvalidRequest():
            return BadRequest(str(error), error.param, "invalid_value")
        case _:
            return _unavailable(str(error), "retrieval_unavailable")


def _from_http(error: HTTPException) -> ApiError:
    """Litestar's own errors, in our words: its details name Python types."""
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return ApiError(404, "Unknown request URL.", code="unknown_url")
        case 405:
            message = "This URL does not take this method."
            return ApiError(405, message, code="method_not_allowed", headers=headers)
        case status if status >= 500:
            log.error("unexpected error", exc_info=error)
            return ApiError(status, "The server had an error.", kind="server_error")
        case status:
            return ApiError(status, f"{HTTPStatus(status).phrase}.", headers=headers)
