"""How every client reaches a gateway: its address and key, and what went wrong in one line."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import openai  # half a second; commands that only read files do without

__all__ = [
    "DEFAULT_URL",
    "INTERRUPTED",
    "NO_KEY",
    "ClientError",
    "add_gateway_options",
    "connect",
    "default_key",
    "default_url",
    "explain",
    "gateway_url",
    "run_client",
]

DEFAULT_URL = "http://127.0.0.1:8000"
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
TIMEOUT_S = 600.0  # an ensemble on a slow machine may think for minutes before its first word
CONNECT_S = 5.0
NO_KEY = "none"  # the SDK insists on a key; a gateway without keys accepts any


class ClientError(Exception):
    """Something the user can act on; its text is one line."""


def add_gateway_options(parser: argparse.ArgumentParser) -> None:
    """Add --url and --api-key."""
    parser.add_argument(
        "--url", help=f"the gateway's address (default: JURAT_URL or {DEFAULT_URL})"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="default: JURAT_API_KEY or OPENAI_API_KEY, which no other user can see",
    )


def default_url() -> str:
    """JURAT_URL, or the address `jurat serve` listens on by default."""
    return os.environ.get("JURAT_URL") or DEFAULT_URL


def default_key() -> str | None:
    """JURAT_API_KEY, else OPENAI_API_KEY."""
    return os.environ.get("JURAT_API_KEY") or os.environ.get("OPENAI_API_KEY") or None


def gateway_url(given: str | None) -> str:
    """The address without a trailing slash or /v1. Raises ClientError."""
    url = (given or default_url()).strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ClientError(f"'{given or default_url()}' is no address; one is like {DEFAULT_URL}.")
    return url


def connect(url: str, api_key: str | None) -> "openai.OpenAI":
    """The SDK's client on the gateway at `url` (as `gateway_url` returns it).

    It does not retry: a person is waiting and can read why.
    """
    import openai

    return openai.OpenAI(
        base_url=f"{url}/v1",
        api_key=api_key or default_key() or NO_KEY,
        max_retries=0,
        timeout=openai.Timeout(TIMEOUT_S, connect=CONNECT_S),
    )


def explain(error: "openai.OpenAIError", url: str) -> str:
    """One line that says what went wrong and, where it is known, what to do."""
    import openai

    match error:
        case openai.APITimeoutError():
            return f"The gateway at {url} did not answer in time."
        case openai.APIConnectionError():
            return (
                f"Cannot reach a gateway at {url}: {_cause(error)}. "
                "Start one with `jurat serve`, or name another with --url."
            )
        case openai.AuthenticationError():
            return _line(
                f"{_message(error)} Give a key with JURAT_API_KEY or --api-key. (HTTP 401)"
            )
        case openai.APIStatusError():
            return _line(f"{_message(error)} (HTTP {error.status_code})")
        case openai.APIError():
            return _line(_message(error))
        case _:
            return _line(str(error))


def run_client(name: str, action: Callable[[], int]) -> int:
    """Run a command's action; a ClientError becomes one line and status 1, Ctrl-C status 130."""
    try:
        return action()
    except ClientError as error:
        print(f"jurat {name}: {_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the shell's prompt should not follow half a line
        return INTERRUPTED


def _message(error: "openai.APIError") -> str:
    """The gateway's own words. The SDK's message repeats the status and the whole body."""
    body = error.body
    if isinstance(body, dict) and isinstance(text := body.get("message"), str) and text:  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return text if text.endswith((".", "!", "?")) else f"{text}."
    return error.message


def _cause(error: BaseException) -> str:
    """What the operating system said, at the bottom of the SDK's chain of exceptions."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _line(text: str, limit: int = 1000) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
