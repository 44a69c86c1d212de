"""What the routes share: engines, ensembles, stores, and whether they are ready."""

import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from msgspec import UNSET

from gateway.ensemble.pipeline import Ensemble
from gateway.ensemble.settings import EnsembleSettings, single
from gateway.errors import BadRequest
from gateway.schema.ensemble import EnsembleOverride
from gateway.seeding import Progress
from gateway.settings import GatewaySettings
from models.engine import Engine
from models.errors import EngineUnavailable, ModelNotFound
from models.settings import ModelSettings
from models.types import EngineStats

__all__ = ["Engines", "EnsembleState", "Runtime", "Stores"]

EnsembleState = Literal["loading", "ready", "failed"]


class Engines(Protocol):
    """What the routes use of `models.registry.Registry`."""

    def ids(self) -> tuple[str, ...]: ...
    def settings(self, model: str) -> ModelSettings: ...
    def get(self, model: str) -> Engine: ...
    def stats(self) -> dict[str, EngineStats]: ...


class Stores(Protocol):
    """What the routes use of `gateway.seeding.Seeding`."""

    def progress(self) -> Mapping[str, Progress]: ...


class Runtime:
    """Built by `gateway.app`; the routes get it by injection. Reads only."""

    def __init__(
        self,
        settings: GatewaySettings,
        registry: Engines,
        ensembles: Mapping[str, EnsembleSettings],
        build: Callable[[EnsembleSettings], Ensemble],
        stores: Stores | None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.ensembles = ensembles
        self.started_at = int(time.time())
        self._build = build
        self._pipelines = {name: build(entry) for name, entry in ensembles.items()}
        self._stores = stores

    def ensemble(self, model: str, override: EnsembleOverride | None) -> Ensemble | None:
        """The ensemble a request runs on, or None where it asks a plain model.

        Ensembles' names come first; a model with an override is an ensemble of one that is
        otherwise like the first ensemble of the configuration. Raises ModelNotFound, and
        EngineUnavailable while a store it would search is being filled: that the documents do
        not say something cannot be known before they are there.
        """
        if model in self.ensembles:
            ensemble = self._pipelines[model]
        elif model not in self.registry.ids():
            raise ModelNotFound(model, self.model_names())
        elif override is None:
            return None
        else:
            ensemble = self._build(single(model, next(iter(self.ensembles.values()), None)))
        named = override.vector_store_ids if override is not None else UNSET
        for store in ensemble.settings.stores if named is UNSET else named:
            found = self.stores().get(store)
            if found is not None and found.state in ("waiting", "ingesting"):
                raise EngineUnavailable(f"The store '{store}' is still being filled.", 2.0)
        return ensemble

    def engine(self, model: str, purpose: str) -> Engine:
        """A model's engine. Raises ModelNotFound, or BadRequest for an ensemble."""
        if model in self.ensembles:
            message = (
                f"'{model}' is an ensemble; it does not do {purpose}. Ask it by chat completions."
            )
            raise BadRequest(message, "model", "unsupported_value")
        if model not in self.registry.ids():
            raise ModelNotFound(model, self.model_names())
        return self.registry.get(model)

    def model_names(self) -> tuple[str, ...]:
        """Every name a request may use as its model."""
        return (*self.ensembles, *self.registry.ids())

    def ensemble_state(self, name: str) -> tuple[EnsembleState, str]:
        """An ensemble is as ready as its members and the stores it searches."""
        settings = self.ensembles[name]
        stats = self.registry.stats()
        away = [model for model in settings.models if model not in stats]
        if away:
            commands = " && ".join(f"jurat pull {model}" for model in dict.fromkeys(away))
            return "failed", f"Not downloaded: {', '.join(away)}. Fetch with: {commands}"
        needed = {model: stats[model].state for model in settings.models}
        embedder = self.settings.retrieval.embedder
        if embedder in stats:
            needed[embedder] = stats[embedder].state
        broken = [model for model, state in needed.items() if state in ("failed", "stopped")]
        if broken:
            return "failed", f"Not available: {', '.join(broken)}."
        waiting = [model for model, state in needed.items() if state != "ready"]
        progress = self.stores()
        waiting += [store for store, found in progress.items() if found.state != "ready"]
        return ("loading", f"Waits for: {', '.join(waiting)}.") if waiting else ("ready", "")

    def stores(self) -> Mapping[str, Progress]:
        """The stores of gateway.toml."""
        return self._stores.progress() if self._stores is not None else {}
