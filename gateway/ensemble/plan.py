"""Which members run at once, and in what order models take turns. Pure."""

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["Execution", "Plan", "plan"]

Execution = Literal["parallel", "sequential", "swapped"]


class Plan(Struct, frozen=True):
    """`waves` are places of members: those of one wave run at once, one wave after the other."""

    execution: Execution
    waves: tuple[tuple[int, ...], ...]


def plan(
    models: Sequence[str],
    on_cores: Collection[str] | None = None,
    *,
    together: bool = True,
    resident: Collection[str] = (),
) -> Plan:
    """Waves of members, by their models. Members on one model are decoded as one batch.

    Models that compute on the host's cores (`on_cores`; None: all) would only slow each other, so
    they take turns; those on GPUs, and those that run elsewhere, run beside them. `together` says
    whether all fit into memory at once: if not, each has its turn, and those that are `resident`
    come first, so that as few as possible are loaded.
    """
    places: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        places.setdefault(model, []).append(place)
    if not together:
        order = sorted(places, key=lambda model: model not in resident)
        return Plan("swapped", tuple(tuple(places[model]) for model in order))
    waiting = [model for model in places if on_cores is None or model in on_cores][1:]
    first = [place for place, model in enumerate(models) if model not in waiting]
    waves = (tuple(first), *(tuple(places[model]) for model in waiting))
    return Plan("sequential" if waiting else "parallel", waves)
