"""What a run took: time, memory and energy of each call of the command, kept in `calls.jsonl`.

A run that was interrupted is several calls, and a figure of the whole run is made of all of them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from clients.evaluation.endpoint import is_local, resident
from clients.evaluation.gpus import Meter, list_gpus

__all__ = ["CALLS", "Call", "read_calls", "totals", "watched"]

CALLS = "calls.jsonl"
EVERY_S = 2.0  # between two readings


class Call(Struct, kw_only=True):
    """One call of the command. Memory is the most that was seen, in bytes.

    `gateway_bytes` and `model_bytes` are the endpoint's processes, where it tells; energy and
    memory of GPUs are known of an endpoint on this machine, and count all work there.
    """

    asked: int = 0
    seconds: float = 0.0
    gateway_bytes: int | None = None
    model_bytes: dict[str, int] = {}
    gpus: list[str] = []
    gpu_bytes: int | None = None
    energy_wh: float | None = None


@asynccontextmanager
async def watched(folder: Path, url: str, api_key: str | None) -> AsyncGenerator[Call]:
    """Measure while inside; the call is written down however that ends.

    The caller counts in `asked`.
    """
    call = Call()
    meter = Meter(list_gpus() if is_local(url) else [])

    def read() -> None:
        meter.read()
        for name, size in resident(url, api_key).items():
            if name:
                call.model_bytes[name] = max(size, call.model_bytes.get(name, 0))
            else:
                call.gateway_bytes = max(size, call.gateway_bytes or 0)

    async def go_on() -> None:
        while True:
            try:
                await asyncio.wait_for(over.wait(), EVERY_S)
            except TimeoutError:
                await asyncio.to_thread(read)
            else:
                return

    over = asyncio.Event()
    await asyncio.to_thread(read)
    begun = time.perf_counter()
    reading = asyncio.create_task(go_on())
    try:
        yield call
    finally:
        call.seconds = time.perf_counter() - begun
        over.set()
        await reading
        await asyncio.to_thread(read)
        call.gpus = [gpu.name for gpu in meter.gpus]
        call.gpu_bytes = meter.memory_bytes or None
        call.energy_wh = meter.wh if meter.measured else None
        with (folder / CALLS).open("ab") as file:
            file.write(msgspec.json.encode(call) + b"\n")


def read_calls(folder: Path) -> list[Call]:
    """The calls so far; a line that was cut off is left out."""
    try:
        lines = (folder / CALLS).read_bytes().splitlines()
    except OSError:
        return []
    found: list[Call] = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=Call))
    return found


def totals(calls: Sequence[Call]) -> dict[str, Any]:
    """Memory and energy of a whole run, as its summary has them; None for what nobody told."""

    def most(of: Callable[[Call], int | None]) -> int | None:
        return max((size for size in map(of, calls) if size is not None), default=None)

    models = {name: 0 for call in calls for name in call.model_bytes}
    for name in models:
        models[name] = max(call.model_bytes.get(name, 0) for call in calls)
    metered = [call for call in calls if call.energy_wh is not None]
    asked = sum(call.asked for call in metered)
    energy = sum(call.energy_wh or 0.0 for call in metered)
    return {
        "memory_bytes": {
            "gateway": most(lambda call: call.gateway_bytes),
            "models": models,
            "gpus": most(lambda call: call.gpu_bytes),
        },
        "gpus": calls[-1].gpus if calls else [],
        "energy_wh": energy if metered else None,
        "energy_wh_per_question": energy / asked if asked else None,
        "total_seconds": round(sum(call.seconds for call in calls), 3),
    }
