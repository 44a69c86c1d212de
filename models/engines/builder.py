"""From a model's settings to its engine: which kind, and what it is told. Starts nothing."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from models.engine import Engine
from models.engines.fake import FakeEngine
from models.engines.local import LocalEngine
from models.engines.trials import Trials
from models.engines.upstream import UpstreamEngine
from models.fit import Fit
from models.footprint import Device
from models.settings import ModelSettings
from models.sources import UPSTREAM, locate, upstream_url
from models.worker_spec import worker_spec

__all__ = ["EngineBuilder"]

SOCKET_NAME = 1 + 16  # bytes: a slash and an address in hexadecimal


class EngineBuilder:
    """Builds the engines of one gateway, whose workers share a private folder.

    `base` is where relative `file:` sources start, `devices` are the machine's GPUs.
    """

    def __init__(self, base: Path, data_dir: Path, devices: Sequence[Device]) -> None:
        self._base = base
        self._data_dir = data_dir
        self._devices = tuple(devices)
        self._trials = Trials(data_dir / "machine.json")
        self._folder = _private_folder()

    def check(self, model: ModelSettings) -> None:
        """Raises SourceError where a model's files are not what or where they should be."""
        if model.kind != "fake":
            locate(model, self._base, self._data_dir)

    def build(
        self, model: ModelSettings, placed: Fit | None, gave_up: Callable[[], None]
    ) -> Engine:
        """An engine that is not started; `gave_up` is called when it ends for good by itself.

        Raises SourceError.
        """
        if model.kind == "fake":
            return FakeEngine(context=model.context or 4096)
        path = locate(model, self._base, self._data_dir)
        if model.source.startswith(UPSTREAM):
            return UpstreamEngine(model, upstream_url(model))
        spec = worker_spec(
            model,
            path,
            self._base,
            self._data_dir,
            None if placed is None else placed.placement,
            self._devices,
            self._folder / "cores",
        )
        return LocalEngine(spec, self._folder, self._trials, gave_up)

    def close(self) -> None:
        """Remove the folder; all engines have ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> Path:
    """For sockets and the core lock, and nobody else's.

    In the usual place for temporary files, unless a socket there would have too long a name.
    """
    folder = Path(tempfile.mkdtemp(prefix="jurat-"))
    if len(os.fsencode(folder)) + SOCKET_NAME <= zmq.IPC_PATH_MAX_LEN:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="jurat-", dir="/tmp"))
