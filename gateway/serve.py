"""`jurat serve`: the gateway as a process, from the command line to the last worker's end."""

import argparse
import asyncio
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import uvicorn

from gateway import logs
from gateway.app import create_app
from gateway.auth import KeyRing, check_exposure
from gateway.config_files import Configuration, load_configuration
from gateway.http_protocol import HttpProtocol
from gateway.running import announce
from gateway.settings import LogLevel, ServerSettings
from gateway.toml import ConfigError
from models.errors import ModelError
from retrieval.errors import RetrievalError

__all__ = ["Server", "listen", "main"]

log = logging.getLogger("jurat.serve")

LAST_PORT = 65535
DRAIN_SHARE = 0.5  # of the time to shut down; the rest is for the workers
KEEP_ALIVE_S = 75  # of a connection with no request: longer than clients keep one


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status. Raises ConfigError."""
    options = parser().parse_args(argv)
    given = {
        "JURAT_SERVER_HOST": options.host,
        "JURAT_SERVER_PORT": options.port,
        "JURAT_SERVER_LOG_LEVEL": options.log_level,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    configuration = load_configuration(options.config, overrides=overrides)
    server = configuration.settings.server
    logs.configure(server.log_level)
    auth = configuration.settings.auth
    check_exposure(server.host, KeyRing(auth.keys, auth.admins))
    # Before any model is loaded: a port in use should not cost a load to find out.
    sock = listen(server.host, server.port)
    try:
        return run(configuration, sock)
    finally:
        sock.close()


def parser() -> argparse.ArgumentParser:
    """The options of `jurat serve`."""
    found = argparse.ArgumentParser(prog="jurat serve", description="Serve the OpenAI API.")
    found.add_argument("--host", help="address to listen on")
    found.add_argument("--port", type=_port, help="port to listen on; 0 takes any free one")
    found.add_argument("--config", type=Path, help="the gateway.toml to use")
    found.add_argument("--log-level", choices=get_args(LogLevel))
    return found


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {host}: {error.strerror}.") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} on {host} is in use. Choose another with --port or "
                "JURAT_SERVER_PORT, or stop the program that listens there."
            ) from error
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return sock


def run(configuration: Configuration, sock: socket.socket) -> int:
    """Serve on the socket until a signal comes."""
    settings = configuration.settings.server
    try:
        app = create_app(configuration)
    except (ModelError, RetrievalError) as error:
        raise ConfigError(str(error)) from error
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # AccessLog writes it
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_s * DRAIN_SHARE)),
    )
    server = Server(config, settings, lambda url: announce(configuration.data_dir, url))
    # When the signal came; the application's stop has what remains of the time.
    app.state.shutdown_began = lambda: server.signalled_at
    server.on_hangup = app.state.reload
    server.run([sock])
    return 0 if server.started else 1


def _port(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to {LAST_PORT})")
    return text


def _this_machine(host: str) -> str:
    """An address that reaches a server which listens on every one."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104


class Server(uvicorn.Server):
    """uvicorn with one deadline for the shutdown, a clean exit status, and no idle polling."""

    def __init__(
        self, config: uvicorn.Config, settings: ServerSettings, announce: Callable[[str], object]
    ) -> None:
        """`announce` is told the address for programs on this machine, before any other is."""
        super().__init__(config)
        self._announce = announce
        self._settings = settings
        self._wake = asyncio.Event()
        self.signalled_at: float | None = None
        self.on_hangup: Callable[[], Awaitable[object]] | None = None  # what SIGHUP does
        self._hangups: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            port = sockets[0].getsockname()[1]
            host = self._settings.host.strip("[]")
            shown = f"[{host}]" if ":" in host else host
            self._announce(f"http://{_this_machine(shown)}:{port}")
            sys.stdout.write(f"Jurat listens on http://{shown}:{port}\n")
            sys.stdout.flush()

    async def main_loop(self) -> None:
        """uvicorn wakes ten times a second; once is enough for the Date header."""
        while not self.should_exit:
            await self.on_tick(0)
            try:
                await asyncio.wait_for(self._wake.wait(), 1.0)
            except TimeoutError:
                continue

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """A signal ends the server cleanly, with status 0; a second one changes nothing.

        uvicorn would raise it again at the end and, at a second Ctrl-C, leave the workers behind.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_sighup)
        try:
            yield
        finally:
            for number in (*signals, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _on_sighup(self) -> None:
        task = asyncio.create_task(self._hang_up())
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

    async def _hang_up(self) -> None:
        if self.on_hangup is None:
            return
        try:
            log.info("read again: %s", await self.on_hangup())
        except (ConfigError, ModelError) as error:
            log.error("nothing was changed: %s", error)

    def _on_signal(self) -> None:
        if self.signalled_at is None:
            self.signalled_at = time.monotonic()
            log.info("shutting down")
        self.should_exit = True
        self._wake.set()
