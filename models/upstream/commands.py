"""Running a program of the user's: no shell, a time limit, its output in the log."""

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Outcome", "run"]

log = logging.getLogger(__name__)
TAIL_LINES = 20
LINE = 500  # characters
LAST_WORDS_S = 0.5  # for output to arrive after the end: a child of its own may hold the pipe


class Outcome(NamedTuple):
    """How a command ended: `problem` is empty where it succeeded. `tail` is its last output."""

    problem: str
    tail: str


async def run(
    name: str, command: Sequence[str], timeout_s: float, *, quiet: bool = False
) -> Outcome:
    """Run it to its end; at the time limit, or when this is cancelled, all of it is killed.

    `quiet` keeps its output out of the log.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    # A pipe of our own: asyncio's is waited for until it closes, and a child that the command
    # leaves behind may hold it for ever.
    ours, theirs = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        os.close(ours)
        return Outcome(f"cannot be run: {error}", "")
    finally:
        os.close(theirs)
    reader = asyncio.create_task(_read(name, ours, tail, quiet))
    try:
        async with asyncio.timeout(timeout_s):
            status = await process.wait()
    except TimeoutError:
        return Outcome(f"did not end within {timeout_s:g} s", "\n".join(tail))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.wait([reader], timeout=LAST_WORDS_S)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    return Outcome(f"ended with status {status}" if status else "", "\n".join(tail))


async def _read(name: str, pipe: int, tail: deque[str], quiet: bool) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    try:
        while chunk := await reader.read(1 << 16):
            for line in filter(None, chunk.decode("utf-8", "replace").splitlines()):
                tail.append(line[:LINE])
                if not quiet:
                    log.info("%s: %s", name, line[:LINE])
    finally:
        transport.close()
