"""A process that pulls one model for the gateway: `python -m models.pull_process`.

Its task is one line of JSON on standard input, its progress one line each on standard output, and
it ends when the input does: with the gateway, however that ends. The hub's client thus never runs
in the gateway, and ending a pull is ending a process.
"""

import os
import sys
import threading
from pathlib import Path

import msgspec

from models.downloads import pull
from models.errors import DownloadFailed
from models.hub import Hub
from models.pull_events import Broken, PullEvent, PullTask

__all__ = ["main"]


def main() -> int:
    """Pull, and say how it goes."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=PullTask)
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        for event in pull(task.reference, Path(task.data_dir), Hub()):
            _say(event)
    except DownloadFailed as error:
        _say(Broken(message=str(error), code=error.code))
    except OSError as error:  # of folders that cannot be written
        _say(Broken(message=f"{task.reference}: {error}", code="disk_error"))
    return 0


def _say(event: PullEvent) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    # Unbuffered: a thread inside a buffered reader would hold its lock when the process ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
