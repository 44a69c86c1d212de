"""What goes wrong with another server, as errors of `models.errors`."""

import email.utils
import math
import re
import time
from typing import Any, cast

import msgspec

from models.errors import (
    ContextOverflow,
    EngineUnavailable,
    InvalidRequest,
    ModelError,
    QueueFull,
)

__all__ = ["Fault", "broken", "of_status", "retry_after", "unreachable"]

MESSAGE = 500  # characters of what the server says
NO_HINT_S = 5.0  # to wait after a 429 that does not say how long
BUSY = {408, 429}


class Fault(Exception):
    """An attempt failed with `error`. `again` says that another one may do better.

    `theirs` says that the server is at fault, and not the request: the circuit breaker counts it.
    `wait_s` is how long the server asks to be left alone.
    """

    def __init__(
        self,
        error: ModelError,
        *,
        again: bool = False,
        theirs: bool = False,
        wait_s: float | None = None,
        lost: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.theirs = theirs
        self.wait_s = wait_s
        self.lost = lost  # nobody listens there


def unreachable(model: str, why: str) -> Fault:
    """No connection, or one that broke before it answered."""
    message = f"The upstream server of model '{model}' cannot be reached: {why}"
    return Fault(EngineUnavailable(message), again=True, theirs=True, lost=True)


def broken(model: str, why: str) -> Fault:
    """It answered with what cannot be used."""
    message = f"The answer of model '{model}''s upstream server broke off: {why}"
    return Fault(EngineUnavailable(message), again=True, theirs=True)


def of_status(model: str, status: int, body: bytes, wait_s: float | None, key: str | None) -> Fault:
    """A response that is an error. `key` names the variable the API key was taken from."""
    where = f"The upstream server of model '{model}'"
    if status in (401, 403):
        # Its own message is left out: some repeat a part of the key.
        hint = f"check the API key in {key}" if key else "it wants a key: set upstream.api_key_env"
        return Fault(EngineUnavailable(f"{where} refuses access ({status}); {hint}."))
    found = _error_of(body)
    said = str(found.get("message") or "")[:MESSAGE] or "it does not say why"
    if status in BUSY:
        error = QueueFull(f"{where} is busy: {said}", NO_HINT_S if wait_s is None else wait_s)
        return Fault(error, again=True, wait_s=wait_s)
    if status >= 500:
        error = EngineUnavailable(f"{where} failed ({status}): {said}", wait_s)
        return Fault(error, again=True, theirs=True, wait_s=wait_s)
    if status in (400, 413, 422):
        return Fault(_refusal(found, f"{where} refuses this: {said}"))
    return Fault(EngineUnavailable(f"{where} answers {status}: {said}"))


def retry_after(value: str | None) -> float | None:
    """Seconds, of a Retry-After header that has seconds or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _refusal(found: dict[str, Any], said: str) -> InvalidRequest:
    """The request is wrong; `said` has the server's own words."""
    param = found.get("param")
    if "exceed_context_size_error" in (found.get("type"), found.get("code")) or (
        found.get("code") == "context_length_exceeded" or "maximum context length" in said
    ):
        given = (found.get("n_prompt_tokens"), found.get("n_ctx"))
        numbers = [each for each in given if isinstance(each, int)]
        if len(numbers) < 2:
            # The prompt's is the larger one, in whatever order they are said.
            text = str(found.get("message"))
            numbers = sorted(map(int, re.findall(r"\b\d{1,9}\b", text)[:2]), reverse=True)
        if len(numbers) == 2:
            return ContextOverflow(said, numbers[0], numbers[1], str(param or "messages"))
    return InvalidRequest(said, param if isinstance(param, str) else None)


def _error_of(body: bytes) -> dict[str, Any]:
    """The error object of a body in any of the usual shapes; its text where it has none."""
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"message": body.decode("utf-8", "replace").strip()}
    if isinstance(found, dict):
        inner = cast("dict[str, Any]", found)
        for name in ("error", "message", "detail"):
            value = inner.get(name)
            if isinstance(value, dict):
                return cast("dict[str, Any]", value)
            if value:
                return {**inner, "message": str(value)}
    return {"message": str(cast("object", found))}
