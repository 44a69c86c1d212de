"""Fetching a model from a hub: which files, is there room, fetch, verify, remember.

`pull` runs in the caller's thread and fetches in threads of its own, several files at once. Two
pulls of one file, of whatever process, share it: one holds its lock and fetches, the other waits
and shows how far it is. A file's bytes are checked against its hash before anybody can load it.
Whatever ends a pull, what came so far stays and the next one goes on from there.
"""

import hashlib
import io
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec.structs import replace

from models.errors import DownloadFailed
from models.hub import Hub, RemoteFile
from models.hub_cache import (
    Record,
    Stored,
    blob_path,
    cache_dir,
    cached,
    find_record,
    lock_path,
    part_path,
    snapshot,
    write_record,
)
from models.hub_names import Choice, Reference, choose
from models.pull_events import Progress, Pulled

__all__ = ["pull"]

AT_ONCE = 4  # files; each is one connection
LOCK_S = 0.5  # between two looks at what another process has fetched
EVERY_S = 0.2  # between two reports
RATE_OVER_S = 8.0
SHA256_LENGTH = 64
GB = 1e9
State = Literal["downloading", "waiting", "verifying"]


class _Step(NamedTuple):
    """What a thread reports: a file is so far, or (no path) the thread has ended."""

    path: str | None
    done: int = 0
    state: State = "downloading"
    error: Exception | None = None


class _Stopped(Exception):
    """Nobody wants the files any more."""


def pull(
    reference: Reference,
    data_dir: Path,
    hub: Hub,
    *,
    update: bool = False,
    free: Callable[[Path], int] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Progress | Pulled, None, None]:
    """Fetch what is not here yet. Ends with Pulled; raises DownloadFailed. Closing it stops it.

    A source pulled before stays at its commit unless `update`. `free` says how many bytes the disk
    of a folder has left.
    """
    known = cached(reference, data_dir)
    if known is not None and not update:
        write_record(known, data_dir)
        yield _pulled(known, 0)
        return
    if hub.offline:
        raise DownloadFailed(
            f"{reference} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it.",
            "offline",
        )
    before = find_record(reference, data_dir)
    wanted = before.commit if before is not None and not update else reference.revision
    listing = hub.listing(reference.repo, wanted)
    choice = choose(listing.files, reference)
    record = _record(reference, choice, listing.files, listing.commit, before)
    if known is None:
        write_record(record, data_dir)  # from now on every attempt fetches the same commit
    files = [listing.files[path] for path in choice.files]
    missing = [
        file for file in files if not (snapshot(record.repo, record.commit) / file.path).is_file()
    ]
    _check_room(record, missing, free or _free)
    fetching = _Fetching(hub, record, missing)
    try:
        yield from fetching.run(files, clock)
    finally:
        fetching.stop()
    write_record(record, data_dir)
    yield _pulled(record, fetching.fetched)


class _Fetching:
    """The threads of one pull."""

    def __init__(self, hub: Hub, record: Record, files: Sequence[RemoteFile]) -> None:
        self._hub = hub
        self._record = record
        self._todo = deque(sorted(files, key=lambda file: -file.size))
        self._steps: queue.SimpleQueue[_Step] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.fetched = 0

    def stop(self) -> None:
        """Threads end at their next bytes. They are daemons: a process need not wait for them."""
        self._stop.set()

    def run(self, files: Sequence[RemoteFile], clock: Callable[[], float]) -> Iterator[Progress]:
        """Report until all files are here. Raises the first error of any thread."""
        running = min(AT_ONCE, len(self._todo))
        missing = {file.path for file in self._todo}
        meter = _Meter(files, {file.path for file in files} - missing, clock)
        for _ in range(running):
            threading.Thread(target=self._thread, name="pull", daemon=True).start()
        while running:
            step = self._steps.get()
            if step.error is not None:
                raise step.error
            if step.path is None:
                running -= 1
            elif (progress := meter.after(step.path, step.done, step.state)) is not None:
                yield progress

    def _thread(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    file = self._todo.popleft()
                except IndexError:
                    break
                self._bring(file)
            self._steps.put(_Step(None))
        except _Stopped:
            self._steps.put(_Step(None))
        except OSError as error:
            failed = DownloadFailed(f"{self._record.source}: {error}", "disk_error")
            self._steps.put(_Step(None, error=failed))
        except Exception as error:  # whoever waits for the files must hear of it
            self._steps.put(_Step(None, error=error))

    def _bring(self, file: RemoteFile) -> None:
        """One file, into its place in the cache."""
        repo, commit = self._record.repo, self._record.commit
        blob, part = blob_path(repo, file.blob), part_path(repo, file.blob)
        blob.parent.mkdir(parents=True, exist_ok=True)
        here = False
        while not here:
            if self._stop.is_set():
                raise _Stopped
            with self._hub.lock(lock_path(repo, file.blob), LOCK_S) as ours:
                if ours:
                    if not blob.exists():
                        self._fetch(file, part)
                        part.replace(blob)
                    here = True
            if not ours:
                self._tell(file, _size(part), "waiting")
        self._hub.link(repo, commit, file.path)
        self._tell(file, file.size, "downloading")

    def _fetch(self, file: RemoteFile, part: Path) -> None:
        """All bytes of a file, verified, in `part`."""
        if _size(part) > file.size:
            part.unlink()
        if _size(part) < file.size or not part.exists():
            with _Part(part, self._stop, lambda done: self._tell(file, done, "downloading")) as out:
                began = out.tell()
                self._hub.fetch(self._record.repo, self._record.commit, file, out)
            self.fetched += max(0, _size(part) - began)
        self._tell(file, file.size, "verifying")
        found = _digest(part, file)
        if found != file.blob or _size(part) != file.size:
            size = _size(part)
            part.unlink()
            raise DownloadFailed(
                f"{self._record.source}: {file.path} came with {size:,} bytes of hash {found}, but "
                f"the hub lists {file.size:,} bytes of {file.blob}. It was deleted; pull again. "
                "If that happens twice, a proxy or mirror on the way changes files.",
                "checksum",
            )

    def _tell(self, file: RemoteFile, done: int, state: State) -> None:
        self._steps.put(_Step(file.path, min(done, file.size), state))


class _Part(io.BufferedWriter):
    """The file that the client writes into, appending; it says how long it has become."""

    def __init__(self, path: Path, stop: threading.Event, tell: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._stop = stop
        self._tell = tell

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Raises _Stopped once nobody wants the file."""
        if self._stop.is_set():
            raise _Stopped
        written = super().write(data)
        self._tell(self.tell())
        return written


class _Meter:
    """Turns steps of files into progress of a pull: sums, rate, time left."""

    def __init__(
        self, files: Sequence[RemoteFile], here: set[str], clock: Callable[[], float]
    ) -> None:
        self._sizes = {file.path: file.size for file in files}
        self._done = {path: size if path in here else 0 for path, size in self._sizes.items()}
        self._states: dict[str, State] = {}
        self._clock = clock
        self._said: float | None = None
        self._lately: deque[tuple[float, int]] = deque()

    def after(self, path: str, done: int, state: State) -> Progress | None:
        """A report, or None where the last one is fresh enough."""
        news = self._states.get(path) != state
        first = path not in self._states
        self._states[path] = state
        self._done[path] = done
        now, total = self._clock(), sum(self._done.values())
        if first or state != "downloading":
            # What was here before, or comes by another process, says nothing about the rate.
            self._lately.clear()
        self._lately.append((now, total))
        while now - self._lately[0][0] > RATE_OVER_S and len(self._lately) > 2:
            self._lately.popleft()
        complete = done == self._sizes[path]
        if not (news or complete) and self._said is not None and now - self._said < EVERY_S:
            return None
        self._said = now
        began, at = self._lately[0]
        rate = max(0.0, (total - at) / (now - began)) if now > began else 0.0
        left = sum(self._sizes.values()) - total
        return Progress(
            file=path,
            state=state,
            file_done=done,
            file_total=self._sizes[path],
            done=total,
            total=total + left,
            bytes_per_second=rate,
            seconds_left=left / rate if rate else (0.0 if not left else None),
        )


def _record(
    reference: Reference,
    choice: Choice,
    listed: Mapping[str, RemoteFile],
    commit: str,
    before: Record | None,
) -> Record:
    files = tuple(
        Stored(path=path, size=listed[path].size, blob=listed[path].blob, commit=commit)
        for path in choice.files
    )
    old = (*before.former, *before.files) if before is not None else ()
    return Record(
        source=str(replace(reference, quant=choice.quant)),
        repo=reference.repo,
        revision=reference.revision,
        commit=commit,
        folder=choice.folder,
        files=files,
        former=tuple(file for file in dict.fromkeys(old) if file.commit != commit),
    )


def _check_room(record: Record, missing: Sequence[RemoteFile], free: Callable[[Path], int]) -> None:
    """Raises DownloadFailed before the first byte where the last one would not fit."""
    needed = sum(
        file.size - min(file.size, _size(part_path(record.repo, file.blob)))
        for file in missing
        if not blob_path(record.repo, file.blob).exists()
    )
    cache = cache_dir()
    there = free(cache)
    if needed > there:
        raise DownloadFailed(
            f"{record.source}: {needed / GB:.2f} GB are still to come, and the disk of {cache} has "
            f"{there / GB:.2f} GB free: {(needed - there) / GB:.2f} GB too few. Free some space, "
            "or set HF_HOME to a folder on another disk.",
            "disk_full",
        )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _pulled(record: Record, fetched: int) -> Pulled:
    path = record.path()
    if path is None:
        raise DownloadFailed(
            f"{record.source}: its files were deleted while they were pulled. Pull again.",
            "disk_error",
        )
    return Pulled(
        source=record.source,
        revision=record.commit,
        path=str(path),
        files=[file.path for file in record.files],
        bytes=sum(file.size for file in record.files),
        fetched=fetched,
    )


def _digest(path: Path, file: RemoteFile) -> str:
    """A file's hash of the kind the hub gives for it: SHA-256 for large files, git's for others."""
    with path.open("rb") as content:
        if len(file.blob) == SHA256_LENGTH:
            return hashlib.file_digest(content, "sha256").hexdigest()
        # Git's own name of a file; it guards against accidents, nothing else.
        found = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        while chunk := content.read(1 << 20):
            found.update(chunk)
        return found.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
