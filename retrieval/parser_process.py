"""The process that reads untrusted files: `python -m retrieval.parser_process LIMITS`.

The kernel enforces what a file may cost: address space, time (an interval timer that kills), no
core file, and no byte written to any disk, so that nothing can be left there. Jobs come on the
standard input, whose end is the process's; it outlives its parent by one file at most.
"""

import contextlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import BinaryIO

import msgspec

from retrieval.errors import FileRejected
from retrieval.formats.read import read_document
from retrieval.parser_messages import (
    OUT_OF_MEMORY,
    Job,
    Limits,
    Outcome,
    read_frame,
    too_much_memory,
    write_frame,
)

__all__ = ["main"]

_OPEN_FILES = 64
_MEMORY_POLL_S = 0.05
_PATIENCE = 4  # times the limit, by the clock


def main() -> None:
    """Serve jobs until the standard input ends."""
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    _confine(limits)
    jobs = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    while (frame := read_frame(jobs)) is not None and (content := read_frame(jobs)) is not None:
        outcome = _serve(msgspec.msgpack.decode(frame, type=Job), content, limits)
        del content
        _answer(answers, outcome)
        if outcome.leaving:
            break


def _confine(limits: Limits) -> None:
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _limit(what, limit)
    if not (sys.platform == "linux" and _limit(resource.RLIMIT_AS, limits.memory_bytes)):
        # Elsewhere the kernel does not hold a process to it: we look, every few milliseconds.
        threading.Thread(target=_watch_memory, args=(limits.memory_bytes,), daemon=True).start()


def _limit(what: int, limit: int) -> bool:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(what, (limit, limit))
    except (ValueError, OSError):
        return False
    return True


def _watch_memory(most: int) -> None:
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit <= most:
        time.sleep(_MEMORY_POLL_S)
    os._exit(OUT_OF_MEMORY)


def _serve(job: Job, content: bytes, limits: Limits) -> Outcome:
    # The default action of both signals ends the process, also within native code that never
    # returns. A file is not to blame for a machine that has much else to do.
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds * _PATIENCE)
    try:
        data = Path(os.fsdecode(content)).read_bytes() if job.by_path else content
        document = read_document(data, job.name)
    except FileRejected as rejected:
        return Outcome(reason=str(rejected), unsupported=rejected.unsupported)
    except MemoryError:
        return Outcome(reason=too_much_memory(limits), leaving=True)
    except RecursionError:
        return Outcome(reason="it is nested too deeply")
    except Exception as error:
        # Whatever a library says about a file it cannot read; the log has where.
        reason = f"it is damaged ({type(error).__name__}: {error})"
        return Outcome(reason=_line(reason), fault=traceback.format_exc(limit=-5))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    if len(document.text) > limits.characters:
        return Outcome(
            reason=f"it holds {len(document.text)} characters of text; "
            f"at most {limits.characters} are taken"
        )
    return Outcome(text=document.text, markup=document.markup, page_starts=document.page_starts)


def _answer(answers: BinaryIO, outcome: Outcome) -> None:
    with contextlib.suppress(BrokenPipeError):
        write_frame(answers, msgspec.msgpack.encode(outcome))


def _line(text: str, longest: int = 300) -> str:
    flat = " ".join(text.encode("utf-8", "replace").decode().split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"


if __name__ == "__main__":
    main()
