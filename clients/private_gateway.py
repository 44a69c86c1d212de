"""A gateway for one command: the one that is named or running, else a private one of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

from clients.api import DEFAULT_URL, ClientError, gateway_url

__all__ = ["reachable_gateway"]

_LOOK_S = 2.0
_END_S = 30.0  # what `jurat serve` may take to end by its settings, and some more
_SAYS = "Jurat listens on "
_LOG_LINES = 5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def reachable_gateway(given: str | None) -> Generator[str]:
    """The address of a gateway, without /v1.

    That is the one given or in JURAT_URL, whether it answers or not; else the local one where it
    answers; else a private one with the same configuration, ended afterwards. Raises ClientError
    when that does not start.
    """
    if given or os.environ.get("JURAT_URL") or _answers(DEFAULT_URL):
        yield gateway_url(given)
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            # Loopback whatever the configuration says: nobody else is meant to use it.
            [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is ours: we end it when we are done
        )
        try:
            yield _address(process, log)
        finally:
            _end(process)


def _answers(url: str) -> bool:
    """Whether a gateway, and no other program, listens there."""
    with contextlib.suppress(OSError, ValueError):
        with _DIRECT.open(f"{url}/health", timeout=_LOOK_S) as response:
            health = json.load(response)
        return isinstance(health, dict) and "models" in health
    return False


def _address(process: "subprocess.Popen[str]", log: IO[str]) -> str:
    """What it says it listens on. It says so, or ends: both end the wait."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(_SAYS):
            return line.removeprefix(_SAYS).strip()
    process.wait()
    log.seek(0)
    said = " ".join(log.read().split("\n")[-_LOG_LINES - 1 :]).strip()
    raise ClientError(
        f"No gateway answers at {DEFAULT_URL}, and a private one does not start: "
        f"{said or f'it ended with status {process.returncode}'}"
    )


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
