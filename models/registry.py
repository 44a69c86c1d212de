"""Every model of the catalog and its engine."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from models.engine import Engine
from models.engines.builder import EngineBuilder
from models.engines.on_demand import OnDemandEngine, Served
from models.errors import (
    DoesNotFit,
    InvalidRequest,
    ModelError,
    ModelNotFound,
    NotDownloaded,
    SourceError,
)
from models.fit import Fit
from models.footprint import Device, Footprint
from models.layout import parameters_of
from models.lifecycle import Lifecycle
from models.residency import Residency
from models.settings import ModelSettings, SamplingDefaults, at_precision
from models.types import EngineStats

__all__ = ["Changes", "Registry", "ResidencyLimits"]

log = logging.getLogger(__name__)
EVERY = "*"
NOTHING = Footprint()


class ResidencyLimits(Struct, frozen=True, kw_only=True):
    """What the models of a registry share. `budget` None is memory without end.

    Models in `keep` make room for no other, like those with `pin`. `preload` are the ids of models
    to load at the start, "*" all; None: all whose files were not downloaded but named by their
    place, so that they were put there to be served.
    """

    budget: Footprint | None = None
    max_waiting: int = 64
    min_residency_s: float = 10.0
    idle_timeout_s: float | None = None
    keep: frozenset[str] = frozenset()
    preload: tuple[str, ...] | None = None


class Changes(Struct, frozen=True, kw_only=True):
    """What a reload did, by ids."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass
class _Entry:
    """A model; without an engine, and with the reason, where its files are not here or too large.

    `of` is the id of the model that it is another precision of.
    """

    settings: ModelSettings
    of: str | None = None
    key: str = ""
    engine: OnDemandEngine | None = None
    placed: Fit | None = None  # None: it takes nothing of this machine that is known
    absent: NotDownloaded | DoesNotFit | None = None


class Registry:
    """Has an engine for each model's settings, loaded on demand.

    Raises SourceError at once for a model whose files are not where they are said to be: a gateway
    that cannot serve what it was told to serve should say so before it starts. Files that are to be
    downloaded may be missing. `base` is where relative `file:` sources start. `engines` replaces
    the ones it would build, for tests. `place` says where a model runs and what it takes there, and
    raises DoesNotFit; None is nothing of this machine. `devices` are the machine's GPUs.
    """

    def __init__(
        self,
        settings: Mapping[str, ModelSettings],
        data_dir: Path,
        *,
        base: Path | None = None,
        engines: Mapping[str, Engine] | None = None,
        limits: ResidencyLimits | None = None,
        place: Callable[[ModelSettings], Fit | None] = lambda _: None,
        devices: Sequence[Device] = (),
    ) -> None:
        self._builder = EngineBuilder(base or Path.cwd(), data_dir, devices)
        self._given = dict(engines or {})
        self._limits = limits or ResidencyLimits()
        self._place = place
        residency = Residency(
            self._limits.budget,
            max_waiting=self._limits.max_waiting,
            min_residency_s=self._limits.min_residency_s,
        )
        self._lifecycle = Lifecycle(residency, min_residency_s=self._limits.min_residency_s)
        self._entries: dict[str, _Entry] = {}
        self._aliases: dict[str, str] = {}
        self._at_start: set[str] = set()
        self._started = False
        try:
            self.reload(settings)
        except ModelError:
            self._builder.close()
            raise

    def ids(self) -> tuple[str, ...]:
        """Ids of the models that can be loaded, in the catalog's order."""
        return tuple(name for name, entry in self._entries.items() if entry.engine is not None)

    def catalog(self) -> tuple[str, ...]:
        """Ids of all models, those included that are not downloaded or too large."""
        return tuple(self._entries)

    def absent(self, model: str) -> NotDownloaded | DoesNotFit | None:
        """Why a model cannot be loaded, as far as that is known. Raises ModelNotFound."""
        return self._find(model)[1].absent

    def settings(self, model: str) -> ModelSettings:
        """A model's settings, by its id, an alias or `ID:QUANT`.

        Raises ModelNotFound, InvalidRequest for a precision that cannot be.
        """
        return self._find(model)[1].settings

    def get(self, model: str) -> OnDemandEngine:
        """A model's engine, by any of its names.

        Raises ModelNotFound, NotDownloaded, DoesNotFit, InvalidRequest for a precision that cannot
        be.
        """
        engine = self._hosted(model).engine
        assert engine is not None
        return engine

    def parameters(self, model: str) -> tuple[int | None, bool]:
        """How many weights it has, by its file or else its settings, and if that is an estimate.

        None: nobody says. Raises as `settings` does.
        """
        entry = self._find(model)[1]
        if entry.placed is not None and entry.placed.parameters:
            return entry.placed.parameters, False
        return parameters_of(entry.settings), entry.settings.parameters_estimated

    def stats(self) -> dict[str, EngineStats]:
        """A reading of every engine."""
        return {name: engine.stats() for name, engine in self._engines()}

    def served(self) -> dict[str, Served]:
        """What every engine has done."""
        return {name: engine.served for name, engine in self._engines()}

    def required(self) -> frozenset[str]:
        """Ids of the models that are loaded at the start, while they are being so or restarted."""
        return frozenset(
            name
            for name, stats in self.stats().items()
            if name in self._at_start
            and stats.state == "loading"
            and (stats.loads == 0 or self._lifecycle.loaded(self._entries[name].key))
        )

    def on_cores(self, model: str) -> bool:
        """Whether it computes on the host's cores, in part at least. Raises as `get` does."""
        placed = self._hosted(model).placed
        return placed is not None and not placed.whole

    def elsewhere(self, model: str) -> bool:
        """Whether it takes no memory here, as far as that is known. Raises as `get` does."""
        return self._hosted(model).placed is None

    def fit_together(self, models: Iterable[str]) -> bool:
        """Whether all these may be loaded at once. Raises as `get` does."""
        return self._lifecycle.fit_together(tuple(self._hosted(model).key for model in models))

    def resident(self, model: str) -> bool:
        """Whether it is loaded, or is being so. Raises as `get` does."""
        return self._lifecycle.resident(self._hosted(model).key)

    async def load(self, model: str) -> None:
        """Load a model, and wait for it; one that failed is tried again. Raises as `get` does,
        LoadFailed, EngineUnavailable and QueueFull.
        """
        await self._lifecycle.load(self._hosted(model).key)

    def begin_load(self, model: str) -> None:
        """Load a model in the background. Raises as `get` does, EngineUnavailable."""
        self._lifecycle.begin_load(self._hosted(model).key)

    def unload(self, model: str) -> None:
        """Unload it once its requests are done; the next one loads it. Raises as `get` does."""
        self._lifecycle.unload(self._hosted(model).key)

    async def start(self) -> None:
        """Load what is to be loaded at the start, in the background, as far as it fits.

        `stats` tells when each is ready or failed.
        """
        self._started = True
        for name in self._entries:
            if self._preload(name):
                self._at_start.add(name)

    async def stop(self, deadline_s: float) -> None:
        """Stop every engine, all at once, within the deadline."""
        await self._lifecycle.stop(deadline_s)
        self._builder.close()

    def reload(self, settings: Mapping[str, ModelSettings]) -> Changes:
        """Serve these models from now on.

        Requests inside are finished by the engines that they began with; a model that changed is
        loaded anew when its old engine has ended, and a new one if it would be at the start. Raises
        SourceError, and has changed nothing then.
        """
        before, after = self._entries, dict[str, _Entry]()
        fresh: dict[str, Engine | None] = {}  # engines to host; None: absent
        for name, entry in self._wanted(settings).items():
            old = before.get(name)
            if old is not None and _runs_alike(old.settings, entry.settings):
                after[name] = replace(old, settings=entry.settings)
                continue
            after[name] = entry
            try:
                fresh[name] = self._prepare(name, entry)
            except (NotDownloaded, DoesNotFit):
                fresh[name] = None
        self._entries = after
        self._aliases = {alias: name for name, one in settings.items() for alias in one.aliases}
        resident: set[str] = set()
        for name, old in before.items():
            if old.engine is not None and (name not in after or name in fresh):
                if self._lifecycle.resident(old.key):
                    resident.add(name)
                self._lifecycle.remove(old.key)
        for name, engine in fresh.items():
            if engine is not None:
                self._host(name, after[name], engine)
                if name in resident:
                    self._lifecycle.begin_load(after[name].key)
                elif self._started and name not in before:
                    self._preload(name)
        return Changes(
            added=tuple(name for name in fresh if name not in before),
            removed=tuple(name for name in before if name not in after),
            changed=tuple(name for name in fresh if name in before),
        )

    def _wanted(self, settings: Mapping[str, ModelSettings]) -> dict[str, _Entry]:
        """The catalog to be, and the other precisions in use of what is still in it."""
        wanted = {name: _Entry(model) for name, model in settings.items()}
        for name, entry in self._entries.items():
            if entry.of is None or entry.of not in settings or name in wanted:
                continue
            try:
                model = at_precision(settings[entry.of], entry.settings.quant)
            except InvalidRequest:
                continue  # it comes from one file now
            wanted[name] = _Entry(model, entry.of)
        return wanted

    def _engines(self) -> list[tuple[str, OnDemandEngine]]:
        return [
            (name, entry.engine)
            for name, entry in self._entries.items()
            if entry.engine is not None
        ]

    def _find(self, model: str) -> tuple[str, _Entry]:
        """A model's id and entry, which may be a new one for a precision."""
        name = self._aliases.get(model, model)
        if name in self._entries:
            return name, self._entries[name]
        base, _, quant = model.rpartition(":")
        base = self._aliases.get(base, base)
        if base not in self._entries:
            raise ModelNotFound(model, self.ids())
        settings = at_precision(self._entries[base].settings, quant)
        return settings.id, self._entries.get(settings.id) or _Entry(settings, base)

    def _hosted(self, model: str) -> _Entry:
        """The entry of a model whose files are here; they may have come since the last look."""
        name, entry = self._find(model)
        if entry.engine is None:
            if isinstance(entry.absent, DoesNotFit):
                raise DoesNotFit(str(entry.absent))
            engine = self._prepare(name, entry)
            self._entries[name] = entry
            self._host(name, entry, engine)
        return entry

    def _preload(self, name: str) -> bool:
        """Begin to load one that is to be there from the start, if it fits beside the others."""
        entry = self._entries[name]
        if entry.engine is None or not self._preloaded(entry.settings):
            return False
        if not self._lifecycle.fits_now(entry.key):
            log.info("%s is loaded on demand: it does not fit beside the others", name)
            return False
        self._lifecycle.begin_load(entry.key)
        return True

    def _preloaded(self, model: ModelSettings) -> bool:
        if model.preload is not None:
            return model.preload
        if self._limits.preload is None:
            return model.source.partition(":")[0] in ("", "package", "file")
        return EVERY in self._limits.preload or model.id in self._limits.preload

    def _prepare(self, name: str, entry: _Entry) -> Engine:
        """An entry's engine, not started. Raises SourceError."""
        number = 1
        while self._lifecycle.known(key := name if number == 1 else f"{name}#{number}"):
            number += 1  # what it replaces may still have requests
        try:
            engine = self._given.get(name)
            if engine is None:
                self._builder.check(entry.settings)
            entry.placed = self._placed(name, entry.settings)
            if engine is None:
                engine = self._builder.build(
                    entry.settings, entry.placed, lambda: self._lifecycle.gave_up(key)
                )
        except NotDownloaded as error:
            entry.absent = NotDownloaded(
                f"The files of model '{name}' ({entry.settings.source}) are not on this machine. "
                f"Get them with: jurat pull {name}"
            )
            raise entry.absent from error
        except SourceError as error:
            raise SourceError(f"Model '{name}': {error}") from error
        except DoesNotFit as error:
            log.warning("%s", error)
            entry.absent = error
            raise
        entry.key, entry.absent = key, None
        return engine

    def _placed(self, name: str, model: ModelSettings) -> Fit | None:
        try:
            return self._place(model)
        except (NotDownloaded, DoesNotFit):
            raise
        except ModelError as error:  # its load will say so too
            log.warning("%s: its memory cannot be planned: %s", name, error)
            return None

    def _host(self, name: str, entry: _Entry, engine: Engine) -> None:
        model, general = entry.settings, self._limits.idle_timeout_s
        self._lifecycle.add(
            entry.key,
            name,
            engine,
            NOTHING if entry.placed is None else entry.placed.estimate.footprint,
            pinned=model.pin or name in self._limits.keep,
            idle_timeout_s=model.idle_timeout_s or (None if model.pin else general),
        )
        entry.engine = OnDemandEngine(engine, entry.key, self._lifecycle)


def _runs_alike(old: ModelSettings, new: ModelSettings) -> bool:
    """Whether they differ only in what is read with each request."""

    def bare(one: ModelSettings) -> ModelSettings:
        return msgspec.structs.replace(
            one,
            name="",
            description="",
            notes="",
            aliases=[],
            max_tokens=None,
            sampling=SamplingDefaults(),
            small=False,
            preload=None,
        )

    return bare(old) == bare(new)
