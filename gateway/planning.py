"""The plan of a configuration on a machine: where each model fits, and what runs at once."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config_files import Configuration
from gateway.settings import ModelsSection
from models.errors import DoesNotFit, ModelError
from models.fit import Fit, fit
from models.footprint import Footprint, Machine
from models.inspect import inspect
from models.layout import Layout
from models.memory import MIB, Limits, Placement, budget, less
from models.plan import Plan, make_plan
from models.settings import ModelSettings

__all__ = ["Planning", "layouts", "room_of"]


class Planning:
    """The plan, and a place for models that came after it (a reload, another precision)."""

    def __init__(self, configuration: Configuration, machine: Machine) -> None:
        self._base = configuration.directory
        self._models = configuration.models
        self._data_dir = configuration.data_dir
        self.machine = machine
        embedder = configuration.settings.retrieval.embedder
        self.plan: Plan = make_plan(
            configuration.models,
            layouts(configuration.models, configuration.directory, configuration.data_dir),
            {name: entry.models for name, entry in configuration.ensembles.items()},
            [embedder],
            room_of(configuration.settings.models, machine),
        )
        taken = self.plan.models.get(embedder)
        self._embedder = taken.fit.estimate.footprint if taken and taken.fit else Footprint()

    def place(self, settings: ModelSettings) -> Placement | None:
        """Of `fit`, the placement."""
        found = self.fit(settings)
        return None if found is None else found.placement

    def fit(self, settings: ModelSettings) -> Fit | None:
        """Where a model runs; None for one that takes no memory here.

        Raises DoesNotFit, and SourceError for files that are not what they should be.
        """
        planned = self.plan.models.get(settings.id)
        if planned is not None and self._models[settings.id] == settings:
            if planned.error and planned.layout is not None:
                raise DoesNotFit(planned.error)
            if planned.fit is not None:
                return planned.fit
        layout = inspect(settings, self._base, self._data_dir)
        return (
            None if layout is None else fit(settings, layout, less(self.plan.room, self._embedder))
        )


def layouts(
    models: Mapping[str, ModelSettings], base: Path, data_dir: Path
) -> dict[str, Layout | ModelError]:
    """Of every model that takes memory of this machine, or why it is not known."""
    found: dict[str, Layout | ModelError] = {}
    for name, settings in models.items():
        try:
            layout = inspect(settings, base, data_dir)
        except ModelError as error:
            found[name] = error
        else:
            if layout is not None:
                found[name] = layout
    return found


def room_of(section: ModelsSection, machine: Machine) -> Footprint:
    """What models may take of a machine, by the settings."""
    host, device = section.host_memory_mb, section.gpu_memory_mb
    return budget(
        machine,
        section.memory_fraction,
        Limits(
            host=None if host is None else host * MIB,
            device=None if device is None else device * MIB,
        ),
    )
