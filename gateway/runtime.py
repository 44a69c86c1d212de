"""What the routes share: engines, ensembles, stores, and whether they are ready."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import UNSET

from gateway.ensemble.pipeline import Ensemble
from gateway.ensemble.plan import Plan, plan
from gateway.ensemble.settings import EnsembleSettings, single
from gateway.errors import BadRequest
from gateway.schema.ensemble import EnsembleOverride
from gateway.seeding import Progress
from gateway.settings import GatewaySettings
from models.engine import Engine
from models.errors import EngineUnavailable, ModelError, ModelNotFound
from models.settings import ModelSettings
from models.types import EngineStats
from retrieval.errors import RetrievalError
from retrieval.library import Library

__all__ = ["NO_DOCUMENTS", "Engines", "EnsembleState", "Runtime", "Stores"]

NO_DOCUMENTS = "No embedder is configured, so there are no documents."

EnsembleState = Literal["loading", "ready", "failed"]


class Engines(Protocol):
    """What the routes use of `models.registry.Registry`."""

    def ids(self) -> tuple[str, ...]: ...
    def catalog(self) -> tuple[str, ...]: ...
    def absent(self, model: str) -> ModelError | None: ...
    def settings(self, model: str) -> ModelSettings: ...
    def parameters(self, model: str) -> tuple[int | None, bool]: ...
    def get(self, model: str) -> Engine: ...
    def stats(self) -> dict[str, EngineStats]: ...
    def required(self) -> frozenset[str]: ...
    def on_cores(self, model: str) -> bool: ...
    def fit_together(self, models: Iterable[str]) -> bool: ...
    def resident(self, model: str) -> bool: ...
    def elsewhere(self, model: str) -> bool: ...
    def begin_load(self, model: str) -> None: ...
    def unload(self, model: str) -> None: ...


class Stores(Protocol):
    """What the routes use of `gateway.seeding.Seeding`."""

    def progress(self) -> Mapping[str, Progress]: ...


class Runtime:
    """Built by `gateway.app`; the routes get it by injection."""

    def __init__(
        self,
        settings: GatewaySettings,
        registry: Engines,
        ensembles: Mapping[str, EnsembleSettings],
        build: Callable[[EnsembleSettings], Ensemble],
        stores: Stores | None,
        library: Library | None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.started_at = int(time.time())
        self._build = build
        self._stores = stores
        self._library = library
        self.replace(ensembles)

    @property
    def library(self) -> Library:
        """The documents. Raises RetrievalError where no embedder is configured for them."""
        if self._library is None:
            raise RetrievalError(NO_DOCUMENTS)
        return self._library

    def replace(self, ensembles: Mapping[str, EnsembleSettings]) -> None:
        """Serve these ensembles from now on; requests that have begun go on as they are."""
        self.ensembles = ensembles
        self._pipelines = {name: self._build(entry) for name, entry in ensembles.items()}

    def ensemble(self, model: str, override: EnsembleOverride | None) -> Ensemble | None:
        """The ensemble a request runs on, or None where it asks a plain model.

        Ensembles' names come first; a model with an override is an ensemble of one that is
        otherwise like the first ensemble of the configuration. Raises ModelNotFound, NotDownloaded,
        and EngineUnavailable while a store it would search is being filled: that the documents do
        not say something cannot be known before they are there.
        """
        if model in self.ensembles:
            ensemble = self._pipelines[model]
        else:
            self.find(model)
            if override is None:
                return None
            ensemble = self._build(single(model, next(iter(self.ensembles.values()), None)))
        named = override.vector_store_ids if override is not None else UNSET
        for store in ensemble.settings.stores if named is UNSET else named:
            found = self.stores().get(store)
            if found is not None and found.state in ("waiting", "ingesting"):
                raise EngineUnavailable(f"The store '{store}' is still being filled.", 2.0)
        return ensemble

    def engine(self, model: str, purpose: str) -> Engine:
        """A model's engine. Raises ModelNotFound, NotDownloaded, or BadRequest for an ensemble."""
        if model in self.ensembles:
            message = (
                f"'{model}' is an ensemble; it does not do {purpose}. Ask it by chat completions."
            )
            raise BadRequest(message, "model", "unsupported_value")
        return self.find(model)

    def find(self, model: str) -> Engine:
        """A plain model's engine, by any of its names. Raises ModelNotFound, NotDownloaded."""
        try:
            return self.registry.get(model)
        except ModelNotFound:
            raise ModelNotFound(model, self.model_names()) from None

    def model_names(self) -> tuple[str, ...]:
        """Every name a request may use as its model."""
        return (*self.ensembles, *self.registry.ids())

    def ensemble_state(self, name: str) -> tuple[EnsembleState, str]:
        """An ensemble is as ready as its members and the stores it searches."""
        needed: dict[str, EngineStats] = {}
        away: list[str] = []
        for model in self.ensembles[name].models:
            try:
                needed[model] = self.registry.get(model).stats()
            except ModelError as error:
                away.append(str(error))
        if away:
            return "failed", " ".join(away)
        stats = self.registry.stats()
        embedder = self.settings.retrieval.embedder
        if embedder in stats:
            needed[embedder] = stats[embedder]
        broken = [model for model, one in needed.items() if one.state in ("failed", "stopped")]
        if broken:
            return "failed", f"Not available: {', '.join(broken)}."
        required = self.registry.required()
        waiting = [model for model in needed if self.registry.settings(model).id in required]
        progress = self.stores()
        waiting += [store for store, found in progress.items() if found.state != "ready"]
        return ("loading", f"Waits for: {', '.join(waiting)}.") if waiting else ("ready", "")

    def schedule(self, models: Sequence[str]) -> Plan:
        """Which members on these models run at once: see `gateway.ensemble.plan`."""
        registry = self.registry
        names: dict[str, str] = {}
        here: list[str] = []
        for model in models:
            try:
                registry.get(model)
                names[model] = registry.settings(model).id  # an alias is the same model
                here.append(names[model])
            except ModelError:
                names[model] = model  # its member says what is wrong
        return plan(
            [names[model] for model in models],
            [model for model in here if registry.on_cores(model)],
            together=registry.fit_together(here),
            resident=[model for model in here if registry.resident(model)],
            elsewhere=[model for model in here if registry.elsewhere(model)],
        )

    def stores(self) -> Mapping[str, Progress]:
        """The stores of gateway.toml."""
        return self._stores.progress() if self._stores is not None else {}
