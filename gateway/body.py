"""The one reader of JSON bodies: raw bytes, a cap, strict decoding, errors that name the place."""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request

from gateway.errors import ApiError, BadRequest, ClientGone
from gateway.offered import instead_of

__all__ = ["convert", "decode", "read_json"]

T = TypeVar("T")

PLACE = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
# One half of a surrogate pair without the other, in JSON's escapes.
HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")
UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>[^`]+)`$")


async def read_json(request: Request[Any, Any, Any], kind: type[T], max_bytes: int) -> T:
    """Read and decode a request's body.

    Raises BadRequest, ApiError (413) or ClientGone. Fields that `kind` does not know are ignored.
    """
    _check_headers(request, max_bytes)
    return decode(await _read(request, max_bytes), kind)


def decode(body: bytes, kind: type[T]) -> T:
    """Decode strictly; raises BadRequest."""
    if not body.strip():
        raise BadRequest("The request has no body; a JSON object is expected.")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), _as_sent(body), kind) from error
    except msgspec.DecodeError as error:
        reason = _half_a_pair(body, str(error)) or str(error)
        raise BadRequest(f"The body is not valid JSON: {reason}.", code="invalid_json") from error
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not valid UTF-8.", code="invalid_json") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from error


def convert(given: object, kind: Any, place: str) -> Any:
    """Decoded JSON that stands at `place` of a body, as `kind`; raises BadRequest."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), given, kind, place) from error


def _half_a_pair(body: bytes, reason: str) -> str | None:
    """What is wrong where msgspec speaks of an end, or of a pair, and means this."""
    half = HALF.search(body) if "truncated" in reason or "surrogate" in reason else None
    if half is None:
        return None
    return f"{half.group().decode()} (byte {half.start()}) is half of a surrogate pair"


def _misfit(message: str, sent: Any, kind: Any, place: str = "") -> BadRequest:
    """msgspec's `text - at `$.path`` as a message and a parameter; `sent` stands at `place`."""
    match = PLACE.match(message)
    assert match is not None
    text = match["text"]
    # A key of a mapping is "key` in `$.field", a value of it "$.field[...]": the field is named.
    path = (match["path"] or "").removeprefix("key` in `").removesuffix("[...]")
    inner = path.removeprefix("$").removeprefix(".")
    path = f"{place}{path.removeprefix('$')}".removeprefix(".")
    if unknown := UNKNOWN.match(text):
        path = f"{path}.{unknown['field']}" if path else unknown["field"]
        return BadRequest(f"Unknown parameter: '{path}'.", path, "unknown_parameter")
    if missing := MISSING.match(text):
        field = missing["field"]
        path = f"{path}.{field}" if path else field
        return BadRequest(
            f"Missing required parameter: '{path}'.", path, "missing_required_parameter"
        )
    text = instead_of(text, inner, sent, kind)
    if not path:
        return BadRequest(f"Invalid body: {text}.", code="invalid_type")
    return BadRequest(f"Invalid value for '{path}': {text}.", path, "invalid_value")


def _as_sent(body: bytes) -> Any:
    """The body as plain objects; None where it is no JSON behind the place of the error."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _check_headers(request: Request[Any, Any, Any], max_bytes: int) -> None:
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise BadRequest("The content type must be application/json.", code="invalid_content_type")
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise BadRequest("The charset must be utf-8.", code="invalid_content_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("Compressed bodies are not taken.", code="invalid_content_encoding")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


async def _read(request: Request[Any, Any, Any], max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"The body is larger than {max_bytes} bytes.", code="body_too_large")
