"""Which members run at once. Pure; the memory plan of the models takes this over later."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["Execution", "Plan", "plan"]

Execution = Literal["parallel", "sequential", "swapped"]


class Plan(Struct, frozen=True):
    """`waves` are places of members: those of one wave run at once, one wave after the other."""

    execution: Execution
    waves: tuple[tuple[int, ...], ...]


def plan(models: Sequence[str], gpus: int = 0) -> Plan:
    """A wave for each model, as members on one model are decoded as one batch.

    Different models on the same cores would only slow each other; with a GPU for each they do not.
    """
    places: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        places.setdefault(model, []).append(place)
    if len(places) <= max(1, gpus):
        return Plan("parallel", (tuple(range(len(models))),))
    return Plan("sequential", tuple(tuple(wave) for wave in places.values()))
