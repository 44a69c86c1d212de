"""Readings of machines, as `models.machine` gives them."""

from models.footprint import Device, Machine

__all__ = ["BUSY", "EIGHT_80", "GIB", "NO_GPU", "ONE_24", "TWO_48"]

GIB = 1 << 30


def _machine(name: str, total: int, free: list[int], host: int) -> Machine:
    devices = tuple(
        Device(index=at, name=name, uuid=f"GPU-{at:04x}", total=total, free=each)
        for at, each in enumerate(free)
    )
    return Machine(cores=16, host_total=host * GIB, host_free=host * GIB // 10 * 9, devices=devices)


NO_GPU = _machine("", 0, [], 64)
ONE_24 = _machine("NVIDIA GeForce RTX 4090", 25757220864, [25386352640], 64)
TWO_48 = _machine("NVIDIA L40S", 48305799168, [47810543616] * 2, 256)
EIGHT_80 = _machine("NVIDIA H100 80GB HBM3", 85520809984, [84929150976] * 8, 1024)
# Somebody else's job has most of the first GPU.
BUSY = _machine("NVIDIA GeForce RTX 4090", 25757220864, [3221225472, 25386352640], 64)
