"""Which members run at once, and in what order models take turns. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from models.footprint import Footprint

__all__ = ["Execution", "Plan", "plan"]

Execution = Literal["parallel", "sequential", "swapped"]
CORES = -1  # what all models without a GPU share, among devices by index
UNKNOWN = Footprint(host=1)  # it computes here, on the cores


class Plan(Struct, frozen=True):
    """`waves` are places of members: those of one wave run at once, one wave after the other."""

    execution: Execution
    waves: tuple[tuple[int, ...], ...]


def plan(
    models: Sequence[str],
    footprints: Mapping[str, Footprint] | None = None,
    *,
    together: bool = True,
    resident: Collection[str] = (),
) -> Plan:
    """Waves of members, by their models. Members on one model are decoded as one batch.

    Models on the same device, or on the same cores, would only slow each other, so they take
    turns; models on devices of their own run at once, and so do those that run elsewhere (an empty
    footprint). `together` says whether all fit into memory at once: if not, those that are
    `resident` come first, so that as few as possible are loaded.
    """
    places: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        places.setdefault(model, []).append(place)
    order = list(places)
    if not together:
        order.sort(key=lambda model: model not in resident)
    waves: list[tuple[set[int], list[int]]] = []
    for model in order:
        used = _used((footprints or {}).get(model, UNKNOWN))
        for busy, wave in waves:
            if not used or (together and busy.isdisjoint(used)):
                busy |= used
                wave += places[model]
                break
        else:
            waves.append((used, list(places[model])))
    if not together:
        execution: Execution = "swapped"
    else:
        execution = "parallel" if len(waves) <= 1 else "sequential"
    return Plan(execution, tuple(tuple(sorted(wave)) for _, wave in waves))


def _used(footprint: Footprint) -> set[int]:
    """The devices a model computes on: GPUs, else the cores; none if it runs elsewhere."""
    devices = {index for index, size in footprint.devices.items() if size}
    return devices or ({CORES} if footprint.host else set())
