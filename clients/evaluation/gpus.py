"""NVIDIA's GPUs of this machine: which there are, what they have used. A home of pynvml."""

import contextlib
import importlib
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

__all__ = ["Gpu", "Meter", "list_gpus", "visible"]

# Its functions are ctypes without annotations; to the type checker it is Any.
pynvml: Any = importlib.import_module("pynvml")

MILLI = 1000.0
JOULES_PER_WH = 3600.0


class Gpu(Struct, frozen=True, kw_only=True):
    """A GPU as the driver lists it."""

    index: int
    uuid: str
    name: str


def list_gpus() -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves; none where there is no driver."""
    with _driver() as there:
        if not there:
            return []
        found: list[Gpu] = []
        with contextlib.suppress(pynvml.NVMLError):
            for index in range(pynvml.nvmlDeviceGetCount()):
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(pynvml.nvmlDeviceGetUUID(device))
                name = str(pynvml.nvmlDeviceGetName(device))
                found.append(Gpu(index=index, uuid=uuid, name=name))
    return visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(gpus: Sequence[Gpu], wanted: str | None) -> list[Gpu]:
    """Those that are named, by index or by the beginning of a UUID, in that order; None: all.

    As CUDA does, it stops at the first name that is nobody's.
    """
    if wanted is None:
        return list(gpus)
    found: list[Gpu] = []
    for name in (one.strip() for one in wanted.split(",")):
        named = [g for g in gpus if name and (str(g.index) == name or g.uuid.startswith(name))]
        if not named or named[0] in found:
            break
        found.append(named[0])
    return found


class Meter:
    """The energy that GPUs use from `open` on, and the most memory that was in use.

    `read` is to be called now and then, and at the end. All work on a GPU counts, whoever's it is.
    """

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self.gpus = list(gpus)
        self.wh = 0.0
        self.memory_bytes = 0
        self._counted: dict[str, float] = {}  # joules at the last reading
        self._drawn: dict[str, tuple[float, float]] = {}  # when, and watts then

    def read(self) -> None:
        """Take a reading. What the driver does not tell is left out."""
        if not self.gpus:
            return
        with _driver() as there:
            if there:
                readings = [self._read(gpu) for gpu in self.gpus]
                self.memory_bytes = max(self.memory_bytes, sum(readings))

    @property
    def measured(self) -> bool:
        """Whether a GPU tells its energy or its power."""
        return bool(self._counted or self._drawn)

    def _read(self, gpu: Gpu) -> int:
        """Bytes in use; the energy is added to the sum."""
        try:
            device = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            self._add_energy(gpu.uuid, device)
            return int(pynvml.nvmlDeviceGetMemoryInfo(device).used)
        except pynvml.NVMLError:
            return 0

    def _add_energy(self, uuid: str, device: Any) -> None:
        try:
            joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(device) / MILLI
        except pynvml.NVMLError_NotSupported:  # older than Volta: its power, over time
            now, watts = time.monotonic(), pynvml.nvmlDeviceGetPowerUsage(device) / MILLI
            then, before = self._drawn.get(uuid, (now, watts))
            self._drawn[uuid] = now, watts
            self.wh += (watts + before) / 2 * (now - then) / JOULES_PER_WH
        else:
            used = joules - self._counted.get(uuid, joules)
            self._counted[uuid] = joules
            self.wh += max(0.0, used) / JOULES_PER_WH  # a driver loaded anew begins at zero


@contextmanager
def _driver() -> Generator[bool]:
    """NVML while inside; False where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
