"""A worker process seen from the gateway: start it, talk to it, know when and how it died."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import zmq

from models.worker import messages

__all__ = ["Death", "WorkerProcess"]

log = logging.getLogger(__name__)
LOG_TAIL_LINES = 40


class Death:
    """How a worker ended."""

    def __init__(self, returncode: int, log_tail: str) -> None:
        self.signal = -returncode if returncode < 0 else None
        self.returncode = returncode
        self.log_tail = log_tail

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.returncode}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(self.signal).name}"
        return f"signal {self.signal}"


class WorkerProcess:
    """One process and the socket to it. `on_message` and `on_death` run on the event loop.

    `on_death` is called once, after the last message that arrived.
    """

    def __init__(
        self,
        spec: messages.WorkerSpec,
        address_folder: Path,
        on_message: Callable[[messages.FromWorker], None],
        on_death: Callable[[Death], None],
    ) -> None:
        self._spec = spec
        self._folder = address_folder
        self._on_message = on_message
        self._on_death = on_death
        self._tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._unsent: deque[bytes] = deque()
        self._process: asyncio.subprocess.Process | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Spawn the process and send it its model; returns before that is loaded."""
        address = f"ipc://{self._folder / f'{id(self):x}'}"
        self._socket = zmq.Socket(zmq.Context.instance(), zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.set_hwm(0)
        try:
            self._socket.bind(address)
            asyncio.get_running_loop().add_reader(self._socket.FD, self._receive)
            self._process = await self._spawn(address)
        except BaseException:  # a stop may come in the middle of it
            self._close()
            raise
        self.send(messages.Load(self._spec))
        self._watch = asyncio.create_task(self._run(), name=f"worker {self._spec.model}")

    def send(self, message: messages.ToWorker) -> None:
        """Queue a message; a dead worker's are dropped, its death is told by `on_death`."""
        if self._socket is None or self._socket.closed:
            return
        # Before the worker has connected there is nobody to queue it for, and zmq would block.
        self._unsent.append(messages.encode(message))
        self._flush()

    async def stop(self, deadline_s: float) -> None:
        """Ask it to end, then make it. Returns when the process is gone."""
        if self._process is None or self._watch is None:
            return
        self.send(messages.Shutdown())
        _, pending = await asyncio.wait([self._watch], timeout=deadline_s)
        if pending:
            self.kill()
            await self._watch

    def kill(self) -> None:
        """End it now."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _spawn(self, address: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder `models` where the user happens to stand is not ours
            "-m",
            "models.worker.main",
            address,
            stdin=asyncio.subprocess.PIPE,  # closes when we die: the worker ends with us
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is ours alone
            env={
                **os.environ,
                **_visible(self._spec.devices),
                "GGML_NO_BACKTRACE": "1",  # an assert must not start a debugger
                "TOKENIZERS_PARALLELISM": "false",
                # NumPy multiplies no matrices beside llama.cpp; its threads would only be made.
                **({"OPENBLAS_NUM_THREADS": "1"} if self._spec.runs_llama else {}),
                "HF_HUB_OFFLINE": "1",  # models were fetched before; a worker never downloads
                "HF_HUB_DISABLE_TELEMETRY": "1",
            },
        )

    async def _run(self) -> None:
        assert self._process is not None
        assert self._socket is not None
        reader = asyncio.create_task(self._read_log(self._process))
        returncode = await self._process.wait()
        await reader
        try:
            self._receive()  # what the worker said before it ended and nobody has read yet
        finally:
            self._close()
            self._on_death(Death(returncode, "\n".join(self._tail)))

    def _close(self) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket.FD)
        self._socket.close()

    def _receive(self) -> None:
        """Take all that has come. The descriptor tells of changes only, so nothing may be left."""
        while self._socket is not None and not self._socket.closed:
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._on_message(messages.decode_from_worker(frame))
        self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        sent = False
        while self._unsent:
            try:
                self._socket.send(self._unsent[0], zmq.NOBLOCK)
            except zmq.Again:
                break
            self._unsent.popleft()
            sent = True
        if sent:  # that may have taken the descriptor's news of something to read
            asyncio.get_running_loop().call_soon(self._receive)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.read(1 << 16):
            for text in filter(None, chunk.decode("utf-8", "replace").splitlines()):
                self._tail.append(text)
                log.info("%s[%d]: %s", self._spec.model, process.pid, text)


def _visible(devices: tuple[str, ...] | None) -> dict[str, str]:
    """A worker that sees other GPUs takes some of their memory, used or not."""
    return {} if devices is None else {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
