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
    """`waves` are models that take turns; those `beside` run all the while."""

    execution: Execution
    waves: tuple[tuple[str, ...], ...]
    beside: tuple[str, ...] = ()
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
    fixed = {name: one.fit for name, one in planned.items() if one.fit is not None}
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
            name: _plan_ensemble(site, tuple(dict.fromkeys(members)), fixed, beside)
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
    site: _Site, members: Sequence[str], fixed: Mapping[str, Fit], beside: Footprint
) -> EnsemblePlan:
    """Its members in the room that is left beside `fixed`, what stays; the largest first."""
    alone = {
        name: site.fit(name, beside)
        for name in members
        if name in site.layouts and name not in fixed
    }
    for name, found in alone.items():
        if isinstance(found, ModelError):
            return _swapped(site, members, f"{name}: {found}")
    fits = {name: found for name, found in alone.items() if isinstance(found, Fit)}
    order = sorted(fits, key=lambda name: -_size(fits[name]))
    left, together = beside, dict[str, Fit]()
    for name in order:
        found = site.fit(name, left)
        if not isinstance(found, Fit) or not _as_good(found, fits[name]):
            return _swapped(
                site,
                members,
                f"{name} takes {gib(_size(fits[name]))}, which do not fit beside "
                f"{', '.join(together) or 'the embedder'}",
            )
        together[name], left = found, _after(left, found)
    return _resident(members, {**fixed, **together})


def _swapped(site: _Site, members: Sequence[str], reason: str) -> EnsemblePlan:
    """One in memory at a time, but for those that take none here."""
    return EnsemblePlan(
        execution="swapped",
        waves=tuple((name,) for name in members if name in site.layouts),
        beside=tuple(name for name in members if name not in site.layouts),
        reason=reason,
    )


def _resident(members: Sequence[str], together: Mapping[str, Fit]) -> EnsemblePlan:
    """All of them in memory. Those that compute on the host's cores take turns."""
    turns = [name for name in members if name in together and not together[name].whole]
    if len(turns) > 1:
        execution: Execution = "sequential"
        reason = (
            "all fit in memory at once; on the same cores, one after the other is faster than all "
            "at once"
        )
    else:
        execution = "parallel"
        reason = (
            "one model: its members are decoded as one batch"
            if len(members) == 1
            else "all fit at once, and no two compute on the host's cores"
        )
    return EnsemblePlan(
        execution=execution,
        waves=tuple((name,) for name in turns),
        beside=tuple(name for name in members if name not in turns),
        reason=reason,
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
