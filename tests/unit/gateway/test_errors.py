"""Each package's errors as HTTP: a client's mistake is never a 5xx."""

import errno
import logging

import msgspec
import pytest

from gateway.errors import ApiError, error_event, to_api_error
from models import errors as model_errors
from models.errors import (
    ContextOverflow,
    EngineCrashed,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
    ModelError,
    ModelNotFound,
    NotDownloaded,
    QueueFull,
    RequestTimeout,
    SourceError,
    Unsupported,
)
from retrieval import errors as retrieval_errors
from retrieval.errors import (
    NotFound,
    QuotaExceeded,
    StoreExpired,
    StoreNotFound,
    StoreReadOnly,
)

NO_RETRY = {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("error", "status", "code", "param", "headers"),
    [
        (ModelNotFound("m"), 404, "model_not_found", "model", {}),
        (NotDownloaded("m"), 404, "model_not_downloaded", "model", {}),
        (ContextOverflow("m", 9, 8), 400, "context_length_exceeded", "messages", {}),
        (InvalidRequest("m", "seed"), 400, None, "seed", {}),
        (Unsupported("m", "model"), 400, "unsupported_value", "model", {}),
        (QueueFull("m", 2.5), 429, "queue_full", None, {"Retry-After": "3"}),
        (EngineUnavailable("m", 0.2), 503, "model_unavailable", None, {"Retry-After": "1"}),
        (EngineUnavailable("m"), 503, "model_unavailable", None, NO_RETRY),
        (EngineCrashed("m"), 503, "model_crashed", None, NO_RETRY),
        (LoadFailed("m", "the log"), 503, "model_load_failed", None, NO_RETRY),
        (SourceError("m"), 503, "model_load_failed", None, NO_RETRY),
        (ModelError("m"), 500, "model_error", None, {}),
        (RequestTimeout("m"), 504, "timeout", None, NO_RETRY),
        (StoreNotFound("s"), 404, "vector_store_not_found", "vector_store_id", {}),
        (StoreExpired("s"), 404, "vector_store_expired", "vector_store_id", {}),
        (StoreNotFound("s", "a.b"), 404, "vector_store_not_found", "a.b", {}),
        (NotFound("file", "f"), 404, "file_not_found", "file_id", {}),
        (StoreReadOnly("s"), 403, "permission_denied", "vector_store_id", {}),
        (QuotaExceeded("file_id", "m"), 400, "quota_exceeded", "file_id", {}),
        (retrieval_errors.InvalidRequest("limit", "m"), 400, "invalid_value", "limit", {}),
    ],
)
def test_what_a_client_is_told(
    error: Exception, status: int, code: str | None, param: str | None, headers: dict[str, str]
) -> None:
    found = to_api_error(error)
    assert (found.status, found.code, found.param, found.headers) == (status, code, param, headers)
    assert found.message == str(error)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "/path"), retrieval_errors.DiskFull()])
def test_a_full_disk(error: Exception) -> None:
    found = to_api_error(error)
    assert (found.status, found.code, found.headers) == (507, "disk_full", NO_RETRY)
    assert "/path" not in found.message


def test_where_an_index_lies_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    found = to_api_error(retrieval_errors.IndexDamaged("/path: no space"))
    assert (found.status, found.code) == (503, "retrieval_unavailable")
    assert "/path" not in found.message
    assert "/path: no space" in caplog.text


@pytest.mark.parametrize("module", [model_errors, retrieval_errors])
def test_every_error_of_a_package_is_known(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        kind = getattr(module, name)
        if not isinstance(kind, type):
            continue  # the words that one of them carries
        error = kind.__new__(kind)
        Exception.__init__(error, "text")
        error.retry_after_s = 1.0
        error.param = None
        error.what, error.name = "file", "x"
        error.code = "offline"  # a DownloadFailed's
        assert to_api_error(error).code != "internal_error"


def test_an_unexpected_error_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        body = msgspec.json.decode(error_event(RuntimeError("the secret path")))
    assert body["error"]["code"] == "internal_error"
    assert "secret" not in body["error"]["message"]
    assert "the secret path" in caplog.text


def test_the_body_always_has_its_four_fields() -> None:
    body = msgspec.json.decode(error_event(ApiError(418, "m")))
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
