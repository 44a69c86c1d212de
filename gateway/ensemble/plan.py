"""Which members run at once, and in what order models take turns. Pure."""

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["Execution", "Plan", "plan"]

Execution = Literal["parallel", "sequential", "swapped"]


class Plan(Struct, frozen=True):
    """Places of members: those of one wave run at once, one wave after the other.

    Those `beside` take no turn: they run from the beginning on, whatever else does.
    """

    execution: Execution
    waves: tuple[tuple[int, ...], ...]
    beside: tuple[int, ...] = ()


def plan(
    models: Sequence[str],
    on_cores: Collection[str] | None = None,
    *,
    together: bool = True,
    resident: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> Plan:
    """Who takes turns, by their models. Members on one model are decoded as one batch.

    Models that compute on the host's cores (`on_cores`; None: all) would only slow each other, so
    they take turns; those on GPUs, and those that run `elsewhere`, run beside them. `together` says
    whether all fit into memory at once: if not, each that takes memory here has its turn, and those
    that are `resident` come first, so that as few as possible are loaded.
    """
    places: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        places.setdefault(model, []).append(place)
    if together:
        turns = [model for model in places if on_cores is None or model in on_cores]
    else:
        here = [model for model in places if model not in elsewhere]
        turns = sorted(here, key=lambda model: model not in resident)
    beside = tuple(place for place, model in enumerate(models) if model not in turns)
    execution: Execution = "sequential" if len(turns) > 1 else "parallel"
    return Plan(
        execution if together else "swapped", tuple(tuple(places[each]) for each in turns), beside
    )
