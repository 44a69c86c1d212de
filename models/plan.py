"""What this machine can run: each model, and which of an ensemble's run at once. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from models.errors import ModelError
from models.fit import Fit, fit, gib
from models.footprint import Footprint
from models.layout import Layout
from models.memory import less
from models.settings import ModelSettings

__all__ = ["EnsemblePlan", "Execution", "ModelPlan", "Plan", "make_plan"]

Execution = Literal["parallel", "sequential", "swapped"]


class ModelPlan(Struct, frozen=True, kw_only=True):
    """One model, beside those that stay in any case. `error` says why there is no `fit`.

    `resident`: it fits beside all that come before it, so it stays once it is loaded. What is not
    downloaded yet takes nobody's place.
    `layout` is None of one that takes no memory here, and of one that nothing is known of.
    """

    layout: Layout | None
    fit: Fit | None
    resident: bool
    error: str = ""


class EnsemblePlan(Struct, frozen=True, kw_only=True):
    """`waves` are models: those of one wave run at once, one wave after the other."""

    execution: Execution
    waves: tuple[tuple[str, ...], ...]
    reason: str


class Plan(Struct, frozen=True, kw_only=True):
    """For each model and each ensemble, by id."""

    room: Footprint
    models: dict[str, ModelPlan]
    ensembles: dict[str, EnsemblePlan]


def make_plan(
    models: Mapping[str, ModelSettings],
    layouts: Mapping[str, Layout | ModelError],
    ensembles: Mapping[str, Sequence[str]],
    always: Sequence[str],
    room: Footprint,
) -> Plan:
    """The plan for the room.

    `layouts` has every model that takes memory here, or why nothing is known of it; a model that
    is not in it runs elsewhere. `ensembles` are their members' models, `always` the models that
    every ensemble needs beside them (the embedder).
    """
    site = _Site(models, layouts)
    stay = [name for name in layouts if name in always or models[name].pin]
    planned: dict[str, ModelPlan] = {}
    left = room
    for name in stay:
        found = site.fit(name, left)
        planned[name] = site.planned(name, found, resident=isinstance(found, Fit))
        left = _after(left, found)
    beside = left
    for name in layouts:
        if name not in planned:
            alone = site.fit(name, beside)
            found = site.fit(name, left) if site.is_here(name) else alone
            resident = site.is_here(name) and _as_good(found, alone)
            planned[name] = site.planned(name, found if resident else alone, resident=resident)
            left = _after(left, found) if resident else left
    elsewhere = ModelPlan(layout=None, fit=None, resident=True)
    return Plan(
        room=room,
        models={name: planned.get(name, elsewhere) for name in models},
        ensembles={
            name: _plan_ensemble(site, tuple(dict.fromkeys(members)), set(stay), beside)
            for name, members in ensembles.items()
        },
    )


class _Site:
    """The models, tried in one room or another."""

    def __init__(
        self, models: Mapping[str, ModelSettings], layouts: Mapping[str, Layout | ModelError]
    ) -> None:
        self._models = models
        self.layouts = layouts

    def fit(self, name: str, room: Footprint) -> Fit | ModelError:
        layout = self.layouts[name]
        if isinstance(layout, ModelError):
            return layout
        try:
            return fit(self._models[name], layout, room)
        except ModelError as error:
            return error

    def is_here(self, name: str) -> bool:
        """Whether its files are on this machine."""
        layout = self.layouts[name]
        return isinstance(layout, Layout) and not layout.estimated

    def planned(self, name: str, found: Fit | ModelError, *, resident: bool) -> ModelPlan:
        layout = self.layouts[name]
        fault = isinstance(found, ModelError)
        return ModelPlan(
            layout=None if isinstance(layout, ModelError) else layout,
            fit=None if fault else found,
            resident=resident,
            error=str(found) if fault else "",
        )


def _plan_ensemble(
    site: _Site, members: Sequence[str], stay: set[str], beside: Footprint
) -> EnsemblePlan:
    """Its members in the room that is left beside what stays in any case; the largest first."""
    alone = {
        name: site.fit(name, beside)
        for name in members
        if name in site.layouts and name not in stay
    }
    for name, found in alone.items():
        if isinstance(found, ModelError):
            waves = tuple((each,) for each in members)
            return EnsemblePlan(execution="swapped", waves=waves, reason=f"{name}: {found}")
    fits = {name: found for name, found in alone.items() if isinstance(found, Fit)}
    order = sorted(fits, key=lambda name: -_size(fits[name]))
    left, together = beside, dict[str, Fit]()
    for name in order:
        found = site.fit(name, left)
        if not isinstance(found, Fit) or not _as_good(found, fits[name]):
            return EnsemblePlan(
                execution="swapped",
                waves=tuple((each,) for each in members),
                reason=(
                    f"{name} takes {gib(_size(fits[name]))}, which do not fit beside "
                    f"{', '.join(together) or 'the embedder'}"
                ),
            )
        together[name], left = found, _after(left, found)
    return _resident(members, together)


def _resident(members: Sequence[str], together: Mapping[str, Fit]) -> EnsemblePlan:
    """All of them in memory. Those that compute on the host's cores take turns."""
    on_cores = [name for name in members if name in together and not together[name].whole]
    if len(on_cores) <= 1:
        if len(members) == 1:
            reason = "one model: its members are decoded as one batch"
        elif on_cores:
            reason = f"all fit at once, and only {on_cores[0]} computes on the processor's cores"
        else:
            reason = "all fit on the GPUs at once"
        return EnsemblePlan(execution="parallel", waves=(tuple(members),), reason=reason)
    first = tuple(name for name in members if name not in on_cores[1:])
    rest = tuple((name,) for name in members if name in on_cores[1:])
    return EnsemblePlan(
        execution="sequential",
        waves=(first, *rest),
        reason=(
            f"all fit in memory at once; {', '.join(on_cores)} compute on the same cores, and one "
            "after the other is faster there"
        ),
    )


def _as_good(found: Fit | ModelError, alone: Fit | ModelError) -> bool:
    """Whether a model runs as well in the room left as it does alone."""
    if not isinstance(found, Fit) or not isinstance(alone, Fit):
        return False
    return found.whole or not alone.whole


def _after(room: Footprint, found: Fit | ModelError) -> Footprint:
    return less(room, found.estimate.footprint) if isinstance(found, Fit) else room


def _size(found: Fit) -> int:
    taken = found.estimate.footprint
    return taken.host + sum(taken.devices.values())
