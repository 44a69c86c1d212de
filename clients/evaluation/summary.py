"""What a run comes to: `summary.json`."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from clients.bench.machine import machine
from clients.evaluation.asking import TIMES
from clients.evaluation.calls import Call, totals
from clients.evaluation.endpoint import Description
from clients.evaluation.experiment import Record
from clients.evaluation.settings import ExperimentSettings

__all__ = ["summary_of"]

PERCENTILES = (50, 95)
AnyNumber = TypeVar("AnyNumber", int, float)


def summary_of(
    name: str,
    settings: ExperimentSettings,
    said: Description,
    records: Sequence[Record],
    call: Call,
    calls: Sequence[Call],
) -> dict[str, Any]:
    """The summary but for the score. `call` is the last of `calls`, or an empty one.

    What the settings do not say of the model is what the endpoint said.
    """
    answered = [record for record in records if record.error is None]
    own = settings.size_b is not None
    return {
        "name": name,
        "model": settings.model,
        "display_name": settings.display_name or said.name or settings.model,
        "provider": settings.provider or said.provider or "local",
        "size_b": settings.size_b if own else said.size_b,
        "size_estimated": settings.size_estimated if own else said.size_estimated,
        "notes": settings.notes or said.notes,
        "questions": len(records),
        "errors": len(records) - len(answered),
        "blank": sum(record.is_blank for record in answered),
        "latency_ms": _spread([r.latency_ms for r in answered if r.latency_ms is not None]),
        "timings_ms": {
            name: _spread([r.timings[name] for r in answered if name in r.timings])
            for name in TIMES
        },
        "prompt_tokens": _sum([record.prompt_tokens for record in answered]),
        "completion_tokens": _sum([record.completion_tokens for record in answered]),
        "cost": _sum([record.cost for record in answered]),
        "asked": call.asked,  # by the last call of the command
        "seconds": round(call.seconds, 3),
        **totals(calls),
        "machine": machine(),
        "settings": msgspec.to_builtins(settings),
    }


def _sum(counts: Sequence[AnyNumber | None]) -> AnyNumber | None:
    """Of what is known; None where nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], start=known[0]) if known else None


def _spread(times: Sequence[float]) -> dict[str, float] | None:
    if not times:
        return None
    middle, high = np.percentile(times, PERCENTILES)
    return {"mean": float(np.mean(times)), "p50": float(middle), "p95": float(high)}
