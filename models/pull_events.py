"""What a pull says of itself: to its caller, from a pulling process to the gateway, to clients."""

from typing import Literal

from msgspec import Struct

from models.errors import DownloadCode
from models.hub_names import Reference

__all__ = ["Broken", "Progress", "PullEvent", "PullTask", "Pulled"]


class PullTask(Struct, frozen=True, kw_only=True):
    """What a pulling process is asked to do."""

    reference: Reference
    data_dir: str


class Progress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="event"):
    """How far a pull is. Sizes in bytes; `done` and `total` of all its files."""

    file: str  # that moved last
    state: Literal["downloading", "waiting", "verifying"]  # waiting: another process fetches it
    file_done: int
    file_total: int
    done: int
    total: int
    bytes_per_second: float
    seconds_left: float | None = None  # None: not known yet


class Pulled(Struct, frozen=True, kw_only=True, tag="done", tag_field="event"):
    """A pull's end: all files are here."""

    source: str
    revision: str  # the commit
    path: str  # to load
    files: list[str]
    bytes: int
    fetched: int  # bytes that were not here before


class Broken(Struct, frozen=True, kw_only=True, tag="failed", tag_field="event"):
    """A pull's other end."""

    message: str
    code: DownloadCode


PullEvent = Progress | Pulled | Broken
