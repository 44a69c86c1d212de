"""Every model of the catalog and its engine."""

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import zmq

from models.engine import Engine
from models.engines.fake import FakeEngine
from models.engines.local import LocalEngine, SafeModes
from models.errors import DoesNotFit, LoadFailed, ModelError, ModelNotFound, NotDownloaded
from models.footprint import Device
from models.memory import Placement
from models.settings import ModelSettings
from models.sources import locate
from models.types import EngineStats
from models.worker_spec import worker_spec

__all__ = ["Registry"]

log = logging.getLogger(__name__)
SOCKET_NAME = 1 + 16  # bytes: a slash and an address in hexadecimal


class Registry:
    """Builds an engine for each model's settings and keeps it for the gateway's life.

    Raises SourceError at once for a model whose files are not there: a gateway that cannot serve
    what it was told to serve should say so before it starts. `base` is where relative `file:`
    sources start. `engines` replaces the ones it would build, for tests. `place` says where a model
    runs, and raises DoesNotFit; `devices` are the machine's GPUs.
    """

    def __init__(
        self,
        settings: Mapping[str, ModelSettings],
        data_dir: Path,
        *,
        base: Path | None = None,
        engines: Mapping[str, Engine] | None = None,
        place: Callable[[ModelSettings], Placement | None] = lambda _: None,
        devices: Sequence[Device] = (),
    ) -> None:
        self._settings = dict(settings)
        self._folder = _private_folder()
        self._place, self._devices = place, tuple(devices)
        self._safe_modes = SafeModes(data_dir / "machine.json")
        self._starting: list[asyncio.Task[None]] = []
        self._missing: dict[str, NotDownloaded | DoesNotFit] = {}
        self._data_dir = data_dir
        given = dict(engines or {})
        try:
            self._engines: dict[str, Engine] = {}
            for name, model in self._settings.items():
                try:
                    self._engines[name] = given.get(name) or self._build(model, base or Path.cwd())
                except (NotDownloaded, DoesNotFit) as missing:
                    self._missing[name] = missing
        except ModelError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def ids(self) -> tuple[str, ...]:
        """Ids of the models whose files are here, in the catalog's order."""
        return tuple(self._engines)

    def settings(self, model: str) -> ModelSettings:
        """A model's settings; raises ModelNotFound."""
        if model not in self._settings:
            raise ModelNotFound(model, self.ids())
        return self._settings[model]

    def get(self, model: str) -> Engine:
        """A model's engine; raises ModelNotFound, NotDownloaded."""
        self.settings(model)
        if model in self._missing:
            raise self._missing[model]
        return self._engines[model]

    def stats(self) -> dict[str, EngineStats]:
        """A reading of every engine."""
        return {name: engine.stats() for name, engine in self._engines.items()}

    async def start(self) -> None:
        """Start every engine in the background; `stats` tells when each is ready or failed."""
        for name, engine in self._engines.items():
            self._starting.append(asyncio.create_task(self._start(name, engine)))

    async def stop(self, deadline_s: float) -> None:
        """Stop every engine, all at once, within the deadline."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(engine.stop(deadline_s) for engine in self._engines.values()))
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _start(self, name: str, engine: Engine) -> None:
        try:
            await engine.start()
        except LoadFailed as failure:
            log.error("%s", failure)
            if failure.log_tail:
                log.error("the end of its log:\n%s", failure.log_tail)
        except ModelError as error:
            log.error("%s: %s", name, error)
        except Exception:  # nobody awaits this task: what is not said here is said nowhere
            log.exception("%s: could not be started", name)

    def _build(self, model: ModelSettings, base: Path) -> Engine:
        if model.kind == "fake":
            return FakeEngine(context=model.context or 4096)
        path = locate(model, base, self._data_dir)
        spec = worker_spec(
            model,
            path,
            base,
            self._data_dir,
            self._place(model),
            self._devices,
            self._folder / "cores",
        )
        return LocalEngine(spec, self._folder, self._safe_modes)


def _private_folder() -> Path:
    """For sockets and the core lock, and nobody else's.

    In the usual place for temporary files, unless a socket there would have too long a name.
    """
    folder = Path(tempfile.mkdtemp(prefix="jurat-"))
    if len(os.fsencode(folder)) + SOCKET_NAME <= zmq.IPC_PATH_MAX_LEN:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="jurat-", dir="/tmp"))
