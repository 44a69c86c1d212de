"""What an endpoint tells beside its answers: of a model, and of the memory of its processes."""

import ipaddress
import re
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import openai
from msgspec import Struct

from clients.api import NO_KEY, default_key

__all__ = ["Description", "described", "is_local", "resident", "until_ready"]

LOOK_S = 10.0
POLL_S = 0.5
BILLION = 1e9
# The first name is Prometheus' own, which other servers use too.
RESIDENT = re.compile(
    r'^(?:(process_resident_memory_bytes)|jurat_model_resident_bytes\{model="((?:[^"\\]|\\.)*)"\})'
    r" (\S+)$",
    re.MULTILINE,
)


class Description(Struct, frozen=True, kw_only=True):
    """What /v1/models says of a model. Servers other than Jurat say none of it."""

    name: str = ""
    provider: str = ""
    size_b: float | None = None
    size_estimated: bool = False
    notes: str = ""


async def described(client: openai.AsyncOpenAI, model: str) -> Description:
    """A model's own words; empty ones where the endpoint has none."""
    try:
        found = await client.with_options(max_retries=0).models.retrieve(model)
    except openai.OpenAIError:
        return Description()  # the first question says what is wrong
    said: dict[str, Any] = found.model_extra or {}
    count = said.get("parameters")
    return Description(
        name=str(said.get("name") or ""),
        provider=str(said.get("provider") or ""),
        size_b=count / BILLION if isinstance(count, int) and count > 0 else None,
        size_estimated=said.get("parameters_estimated") is True,
        notes=str(said.get("notes") or ""),
    )


def resident(url: str, api_key: str | None) -> dict[str, int]:
    """Bytes that the server ("") and each model's process hold, as /metrics tells; else nothing."""
    key = api_key or default_key() or NO_KEY
    request = urllib.request.Request(  # noqa: S310 (gateway_url lets http and https through)
        f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LOOK_S) as response:  # noqa: S310
            text = response.read().decode("utf-8", "replace")
        return {model: int(float(size)) for _, model, size in RESIDENT.findall(text)}
    except (OSError, ValueError, HTTPException):
        return {}  # it tells nothing, or has just ended


def until_ready(url: str, timeout_s: float) -> None:
    """Wait while the gateway loads models or fills stores; other servers have no /ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=LOOK_S):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                return
        except (OSError, ValueError, HTTPException):
            return  # the first question says what is wrong
        time.sleep(POLL_S)


def is_local(url: str) -> bool:
    """Whether the endpoint is on this machine, as far as its address says."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
