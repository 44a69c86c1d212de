"""Reading memory and GPUs, with recorded files in place of the machine's own."""

from pathlib import Path

import pytest

from models import machine
from models.footprint import Device
from models.machine import read_memory, visible

GIB = 1 << 30
MEMINFO = "MemTotal:       33554432 kB\nMemFree:  1048576 kB\nMemAvailable:   25165824 kB\n"


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "proc/meminfo", MEMINFO)
    return tmp_path


def test_memory_without_a_limit(root: Path) -> None:
    assert read_memory(root) == (32 * GIB, 24 * GIB)
    put(root, "proc/self/cgroup", "0::/user.slice\n")
    put(root, "sys/fs/cgroup/user.slice/memory.max", "max\n")
    put(root, "sys/fs/cgroup/user.slice/memory.current", "12345\n")
    assert read_memory(root) == (32 * GIB, 24 * GIB)


def test_a_group_limits_what_is_below_it(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/pod/box\n")
    put(root, "sys/fs/cgroup/pod/memory.max", f"{8 * GIB}\n")
    put(root, "sys/fs/cgroup/pod/memory.current", f"{3 * GIB}\n")
    put(root, "sys/fs/cgroup/pod/memory.stat", f"anon 1\ninactive_file {GIB}\n")
    put(root, "sys/fs/cgroup/pod/box/memory.max", "max\n")
    assert read_memory(root) == (8 * GIB, 6 * GIB)  # files in the cache give way


def test_a_container_sees_its_group_as_the_root(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/docker/0123\n")
    put(root, "sys/fs/cgroup/memory.max", f"{2 * GIB}\n")
    put(root, "sys/fs/cgroup/memory.current", f"{GIB}\n")
    assert read_memory(root) == (2 * GIB, GIB)


def test_the_first_version_of_control_groups(root: Path) -> None:
    put(root, "proc/self/cgroup", "4:cpu,cpuacct:/\n3:memory:/slurm/job\n0::/\n")
    put(root, "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes", f"{4 * GIB}\n")
    put(root, "sys/fs/cgroup/memory/slurm/job/memory.usage_in_bytes", f"{5 * GIB}\n")
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    put(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{9 * GIB}\n")
    assert read_memory(root) == (4 * GIB, 0)


def test_this_machine() -> None:
    found = machine.read_machine()
    assert 0 < found.host_free <= found.host_total
    assert found.cores >= 1


def test_gpus_are_those_that_cuda_is_shown() -> None:
    gpus = [
        Device(index=at, name="H100", uuid=f"GPU-{at}abc", total=80 * GIB, free=80 * GIB)
        for at in range(3)
    ]
    assert visible(gpus, None) == tuple(gpus)
    assert visible(gpus, "") == ()
    assert visible(gpus, "2, 0") == (gpus[0], gpus[2])
    assert visible(gpus, "GPU-1a") == (gpus[1],)


class _Nvml:
    """NVML as it answers on a machine of two GPUs."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.open = False

    def nvmlInit(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:
        return type("memory", (), {"total": 24 * GIB, "free": (20 + handle) * GIB})

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA L4"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"


def test_gpus_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = _Nvml()
    monkeypatch.setattr(machine, "pynvml", nvml)
    assert [(each.uuid, each.free) for each in machine.read_devices()] == [
        ("GPU-0", 20 * GIB),
        ("GPU-1", 21 * GIB),
    ]
    assert not nvml.open


def test_no_driver_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "pynvml", _Nvml(_Nvml.NVMLError_LibraryNotFound()))
    assert list(machine.read_devices()) == []
    assert not caplog.records
    monkeypatch.setattr(machine, "pynvml", _Nvml(_Nvml.NVMLError("Driver/library mismatch")))
    assert list(machine.read_devices()) == []
    assert "mismatch" in caplog.text
