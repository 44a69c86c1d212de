"""Which members run at once, and in what order models take turns. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from models.types import Timings

__all__ = ["Execution", "Plan", "plan", "slowest"]

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


def slowest(schedule: Plan, timings: Mapping[int, Timings]) -> list[Timings]:
    """The times that passed, of members' `timings` by their places: the slowest one's of each wave,
    one wave after the other, or those of who ran beside them if that took longer.

    A member's times stay together: one waits while another reads the same prompt, and to take the
    longest of each kind would count that twice.
    """

    def of(places: Sequence[int]) -> list[Timings]:
        return sorted((timings[at] for at in places if at in timings), key=_whole)[-1:]

    waves = [one for wave in schedule.waves for one in of(wave)]
    return max(waves, of(schedule.beside), key=lambda some: sum(map(_whole, some)))


def _whole(timings: Timings) -> float:
    return timings.queue_ms + timings.prefill_ms + timings.decode_ms
