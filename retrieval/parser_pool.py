"""A few long-lived parser processes, each driven by a thread, and what becomes of their deaths."""

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import msgspec

from retrieval.document import Document
from retrieval.errors import FileRejected, RetrievalError
from retrieval.parser_messages import (
    OUT_OF_MEMORY,
    Job,
    Limits,
    Outcome,
    read_frame,
    too_much_memory,
    write_frame,
)

__all__ = ["ParserPool"]

log = logging.getLogger("jurat.parser")

# Of the environment a parser sees what an interpreter needs, and no keys.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
_CLOSED = "The parser processes are closed."
_BYTES_PER_CHARACTER = 4  # at most, in UTF-8
_END_S = 2.0  # for a process to go when it is asked to, before it is made to
_ANSWER_EXTRA = 64 * 1024 * 1024  # bytes for page starts and reasons


class _Task(NamedTuple):
    future: "Future[Document]"
    data: bytes | Path
    name: str


class ParserPool:
    """Reads files in processes of their own, at most `size` at once, first come, first served.

    Threads and processes begin with the first file, or with `prepare`; another only when all are
    busy. A process that a file kills is replaced.
    """

    def __init__(self, size: int = 2, limits: Limits | None = None) -> None:
        self._size = size
        self._limits = limits or Limits()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._parsers: list[_Parser] = []
        self._threads: list[threading.Thread] = []
        self._unfinished = 0  # files
        self._closed = False

    def prepare(self) -> None:
        """Starts a process, so that the first file need not wait for it. Waits for nothing."""
        with self._lock:
            if not self._closed and not self._parsers:
                self._add(prepared=True)

    def submit(self, data: bytes | Path, name: str) -> "Future[Document]":
        """Raises through the future: FileRejected, or RetrievalError when no parser starts."""
        future: Future[Document] = Future()
        with self._lock:
            if self._closed:
                raise RetrievalError(_CLOSED)
            self._unfinished += 1
            if len(self._parsers) < min(self._size, self._unfinished):
                self._add()
        self._tasks.put(_Task(future, data, name))
        return future

    def close(self) -> None:
        """Ends the processes, also in the middle of a file. May be called twice."""
        with self._lock:
            self._closed = True
        for parser in self._parsers:
            parser.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(_END_S)

    def processes(self) -> list[int]:
        """Ids of the processes that there are now."""
        return [pid for parser in self._parsers if (pid := parser.pid) is not None]

    def _add(self, *, prepared: bool = False) -> None:
        parser = _Parser(self._limits)
        self._parsers.append(parser)
        # Daemon threads: a file that takes its time must not hold up the program's end.
        thread = threading.Thread(
            target=self._run, args=(parser, prepared), name="parser", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _run(self, parser: "_Parser", prepared: bool) -> None:
        if prepared:
            with contextlib.suppress(OSError, RetrievalError):  # said of the first file
                parser.prepare()
        while (task := self._tasks.get()) is not None:
            wanted = task.future.set_running_or_notify_cancel()
            found = _read(parser, task) if wanted else None
            with self._lock:  # before whoever waits for it goes on
                self._unfinished -= 1
            if isinstance(found, BaseException):
                task.future.set_exception(found)
            elif found is not None:
                task.future.set_result(found)
            del task, found
        parser.end()


def _read(parser: "_Parser", task: _Task) -> Document | BaseException:
    try:
        return parser.parse(task.data, task.name)
    except BaseException as error:
        return error


class _Parser:
    """One process at a time. `parse` blocks and belongs to one thread, `kill` to any."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._longest = limits.characters * _BYTES_PER_CHARACTER + _ANSWER_EXTRA
        self._process: subprocess.Popen[bytes] | None = None
        self._files = 0
        self._killed = threading.Event()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None else process.pid

    def prepare(self) -> None:
        """Starts the process."""
        self._running()

    def parse(self, data: bytes | Path, name: str) -> Document:
        process = self._running()
        outcome = self._exchange(process, data, name)
        self._files += 1
        if outcome is None:
            self.end()
            raise self._death(process.returncode)
        if outcome.leaving or self._files >= self._limits.files:
            self.end()
        if outcome.fault:
            log.info("%s: %s\n%s", name, outcome.reason, outcome.fault)
        if outcome.reason:
            raise FileRejected(outcome.reason, unsupported=outcome.unsupported)
        return Document(text=outcome.text, markup=outcome.markup, page_starts=outcome.page_starts)

    def kill(self) -> None:
        """Ends the process for good; `parse`, should it be waiting for it, raises."""
        self._killed.set()
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """Lets the process go, and makes it if it does not. Only for the parser's own thread."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.end()
        if self._killed.is_set():
            raise RetrievalError(_CLOSED)
        self._files = 0
        self._process = process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-P", "-W", "ignore", "-m", "retrieval.parser_process"),
                msgspec.json.encode(self._limits).decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is the gateway's alone
            env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
        )
        if self._killed.is_set():  # meanwhile
            process.kill()
        return process

    def _exchange(
        self, process: "subprocess.Popen[bytes]", data: bytes | Path, name: str
    ) -> Outcome | None:
        """None when the process ended, or said what no parser says."""
        assert process.stdin is not None
        assert process.stdout is not None
        job = Job(name.encode("utf-8", "replace").decode(), isinstance(data, Path))
        content = os.fsencode(data.absolute()) if isinstance(data, Path) else data
        try:
            write_frame(process.stdin, msgspec.msgpack.encode(job))
            write_frame(process.stdin, content)
            frame = read_frame(process.stdout, self._longest)
            return None if frame is None else msgspec.msgpack.decode(frame, type=Outcome)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None

    def _death(self, status: int) -> RetrievalError:
        if self._killed.is_set():
            return RetrievalError(_CLOSED)
        if status in (-signal.SIGPROF, -signal.SIGALRM):
            return FileRejected(f"reading it takes longer than {self._limits.seconds:g} s")
        if status == OUT_OF_MEMORY:
            return FileRejected(too_much_memory(self._limits))
        if status < 0:
            name = signal.Signals(-status).name
            return FileRejected(f"reading it ended the parser process ({name})")
        return RetrievalError(f"The parser process ended with status {status}; see the log.")
