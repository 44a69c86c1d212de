"""What this machine is: cores to use, and a name for the pair of processor and llama.cpp build."""

import hashlib
import importlib.metadata
import math
import os
import platform
from pathlib import Path

__all__ = ["core_count", "fingerprint"]


def core_count() -> int:
    """Cores this process may keep busy: its affinity, bounded by a container's CPU quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # not Linux, or no cgroup v2: no quota is known
    return cores


def fingerprint() -> str:
    """Changes with the processor's features or the llama.cpp build, and with nothing else."""
    features = platform.machine() + platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "flags", "Features")):
                features += line
            elif not line:
                break  # the first core speaks for all
    except OSError:
        pass
    build = importlib.metadata.version("llama-cpp-python")
    return hashlib.sha256(f"{build}\n{features}".encode()).hexdigest()[:16]
