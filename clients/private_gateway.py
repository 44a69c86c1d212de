"""A gateway for one command: the one that is named or running, else a private one of its own.

The private one is kept by a process in between (this module, run), which ends it as soon as the
command's end of a pipe closes: however the command ends, no gateway is left behind.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import IO

from clients.api import DEFAULT_URL, ClientError, gateway_url

__all__ = ["private_gateway", "reachable_gateway", "running_gateway"]

_LOOK_S = 2.0
_END_S = 60.0  # `jurat serve` ends by a deadline of its own; this is for when it hangs
_SAYS = "Jurat listens on "
_LOG_LINES = 5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy


@contextmanager
def reachable_gateway(given: str | None) -> Generator[str]:
    """The address of a gateway, without /v1.

    That is the one given or in JURAT_URL, whether it answers or not; else the local one where it
    answers; else a private one with the same configuration, ended afterwards. Raises ClientError
    when that does not start.
    """
    if (there := running_gateway(given)) is not None:
        yield there
        return
    with private_gateway() as url:
        yield url


def running_gateway(given: str | None) -> str | None:
    """The one given or in JURAT_URL, whether it answers or not; else the local one if it answers.

    Raises ClientError for what is no address.
    """
    if given or os.environ.get("JURAT_URL") or _answers(DEFAULT_URL):
        return gateway_url(given)
    return None


@contextmanager
def private_gateway(environment: Mapping[str, str] | None = None) -> Generator[str]:
    """A gateway of one's own, with these variables beside this process's; ended afterwards.

    Raises ClientError when it does not start.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "clients.private_gateway"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C is ours: we end it when we are done
        )
        try:
            yield _address(keeper, log)
        finally:
            _end(keeper)


def _answers(url: str) -> bool:
    """Whether a gateway, and no other program, listens there."""
    with contextlib.suppress(OSError, ValueError):
        with _DIRECT.open(f"{url}/health", timeout=_LOOK_S) as response:
            health = json.load(response)
        return isinstance(health, dict) and "models" in health
    return False


def _address(keeper: "subprocess.Popen[str]", log: IO[str]) -> str:
    """What it says it listens on. It says so, or ends: both end the wait."""
    assert keeper.stdout is not None
    for line in keeper.stdout:
        if line.startswith(_SAYS):
            return line.removeprefix(_SAYS).strip()
    status = keeper.wait()
    log.seek(0)
    said = " ".join(log.read().splitlines()[-_LOG_LINES:])
    raise ClientError(
        f"No gateway answers at {DEFAULT_URL}, and a private one does not start: "
        f"{said or f'it ended with status {status}'}"
    )


def _end(keeper: "subprocess.Popen[str]") -> None:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with contextlib.suppress(OSError):
        keeper.stdin.close()
    try:
        keeper.wait(_END_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    keeper.stdout.close()


def _keep() -> int:
    """Serve until the standard input ends."""
    serve = subprocess.Popen(
        # Loopback, whatever the configuration says: nobody else is meant to use it.
        [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0"],
        stdin=subprocess.DEVNULL,
    )

    def end_with_the_command() -> None:
        sys.stdin.read()
        serve.terminate()

    threading.Thread(target=end_with_the_command, daemon=True).start()
    return serve.wait()


if __name__ == "__main__":
    # Not by sys.exit, which would wait for the thread that reads the standard input.
    os._exit(_keep())
