"""A reading of this machine: memory that is free, and GPUs. The home of pynvml."""

import contextlib
import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from models.footprint import Device, Machine
from models.hardware import core_count

# Its functions are ctypes without annotations; to the type checker it is Any.
pynvml: Any = importlib.import_module("pynvml")

__all__ = ["read_devices", "read_machine", "read_memory", "visible"]

log = logging.getLogger(__name__)
ROOT = Path("/")


def read_machine() -> Machine:
    """What is there, and what of it is free now."""
    total, free = read_memory()
    devices = visible(tuple(read_devices()), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if devices and not _built_for_cuda():
        log.warning("%d GPUs, and llama-cpp-python is built without CUDA", len(devices))
        devices = ()
    return Machine(cores=core_count(), host_total=total, host_free=free, devices=devices)


def visible(devices: Sequence[Device], wanted: str | None) -> tuple[Device, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves, by index or UUID; None: all of them."""
    if wanted is None:
        return tuple(devices)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return tuple(
        each
        for each in devices
        if any(str(each.index) == name or each.uuid.startswith(name) for name in names)
    )


def read_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes of the host's memory, all and free, bounded by the control groups this process is in.

    Free is what can be had without swapping: files in the page cache give way. `root` is where
    /proc and /sys are.
    """
    found = _table(root / "proc/meminfo")
    if "MemTotal" not in found:  # not Linux: nobody says cheaply what is free
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    total = found["MemTotal"] * 1024
    free = found.get("MemAvailable", found.get("MemFree", 0)) * 1024
    for limit, used in _groups(root):
        total = min(total, limit)
        free = min(free, max(0, limit - used))
    return total, free


def read_devices() -> Iterable[Device]:
    """NVIDIA's GPUs; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        # No GPU is the usual case; a driver that fails is worth a line.
        if not isinstance(error, pynvml.NVMLError_LibraryNotFound):
            log.warning("no GPU can be read: %s", error)
        return
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            yield Device(
                index=index,
                name=str(pynvml.nvmlDeviceGetName(device)),
                uuid=str(pynvml.nvmlDeviceGetUUID(device)),
                total=int(memory.total),
                free=int(memory.free),
            )
    except pynvml.NVMLError as error:
        log.warning("the GPUs cannot be read: %s", error)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _built_for_cuda() -> bool:
    """Whether llama.cpp here has a CUDA back end. Asking itself would load it."""
    package = importlib.util.find_spec("llama_cpp")
    folders = package.submodule_search_locations if package else None
    return any(any(Path(each).glob("lib/*ggml-cuda*")) for each in folders or ())


def _groups(root: Path) -> Iterable[tuple[int, int]]:
    """Limit and use of every control group above this process that limits memory; v2, then v1.

    A container may see its own group as the root, or only by the path the host knows, which does
    not exist in its view; the root is looked at in any case.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _ancestors(base, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _ancestors(
                base / "memory",
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )


def _ancestors(
    base: Path, path: str, limit: str, usage: str, cached: str
) -> Iterable[tuple[int, int]]:
    folder = base / path.lstrip("/")
    for group in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError):
            # "max" is no number, and no limit
            allowed, used = (int((group / name).read_text()) for name in (limit, usage))
            yield allowed, max(0, used - _table(group / "memory.stat").get(cached, 0))
        if group == base:
            break


def _table(path: Path) -> dict[str, int]:
    """Names and numbers of a file with a pair a line; empty where it cannot be read."""
    try:
        return {
            name: int(number)
            for name, number in re.findall(r"^(\w+):?\s+(\d+)", path.read_text(), re.MULTILINE)
        }
    except OSError:
        return {}
