"""What was found out by trying models on this machine, kept between starts of the gateway."""

import hashlib
import logging
import os
from pathlib import Path

import msgspec

from models.hardware import fingerprint
from models.worker.messages import Trial, WorkerSpec

__all__ = ["Trials"]

log = logging.getLogger(__name__)
KEPT = 128  # loads that passed; the oldest are tried anew


class _Found(msgspec.Struct):
    """The file. All of it is of one pair of processor and llama.cpp build."""

    fingerprint: str
    safe_mode: str = ""  # how a load without it died, if one did
    passed: dict[str, Trial] = {}


class Trials:
    """Which machine needs safe mode, and which loads have been tried. One JSON file.

    A load is known by its settings and by its files' sizes and times: where any of these has
    changed, it is tried anew. What cannot be read is not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def safe_mode_needed(self) -> bool:
        """Whether a load crashed here before and safe mode cured it."""
        return bool(self._read().safe_mode)

    def need_safe_mode(self, reason: str) -> None:
        """Start in safe mode from now on."""
        found = self._read()
        found.safe_mode = reason
        self._write(found)

    def of(self, spec: WorkerSpec) -> Trial | None:
        """What such a load measured when it passed; None: it has to be tried."""
        return self._read().passed.get(_key(spec))

    def passed(self, spec: WorkerSpec, trial: Trial) -> None:
        """The next load need not do it again."""
        found, key = self._read(), _key(spec)
        if found.passed.pop(key, None) == trial:
            return
        found.passed[key] = trial
        while len(found.passed) > KEPT:
            del found.passed[next(iter(found.passed))]
        self._write(found)

    def forget(self, spec: WorkerSpec) -> None:
        """It has crashed after all: the next load is tried."""
        found = self._read()
        if found.passed.pop(_key(spec), None) is not None:
            self._write(found)

    def _read(self) -> _Found:
        here = fingerprint()
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Found)
        except (OSError, msgspec.DecodeError):
            return _Found(here)
        return found if found.fingerprint == here else _Found(here)

    def _write(self, found: _Found) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(found))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("what was tried cannot be remembered, and is tried again: %s", error)


def _key(spec: WorkerSpec) -> str:
    same = msgspec.structs.replace(spec, core_lock=None, trial=None)
    text = msgspec.json.encode(same)
    for file in (spec.path, *(path for path, _ in spec.lora)):
        try:
            found = Path(file).stat()
            text += f"\n{found.st_size} {found.st_mtime_ns}".encode()
        except OSError:  # the load says what is wrong with it
            text += b"\n-"
    return hashlib.sha256(text).hexdigest()[:16]
