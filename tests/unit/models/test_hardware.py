import importlib.metadata
import math
import os
from pathlib import Path

import pytest

from models import hardware


def files(monkeypatch: pytest.MonkeyPatch, contents: dict[str, str]) -> None:
    def read_text(path: Path, *_: object) -> str:
        if str(path) not in contents:
            raise FileNotFoundError(path)
        return contents[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("6400000 100000", 8),
        ("nonsense", 8),
    ],
)
def test_cores_are_bounded_by_the_container(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    files(monkeypatch, {"/sys/fs/cgroup/cpu.max": quota})
    assert hardware.core_count() == cores


def test_without_cgroups_or_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    files(monkeypatch, {})
    assert hardware.core_count() == 1


def test_this_machine_has_at_least_one_core() -> None:
    assert 1 <= hardware.core_count() <= (os.cpu_count() or math.inf)


CPU = (
    "processor : 0\nmodel name : X\ncpu MHz : {mhz}\nflags : fpu {flags}\n\n"
    "processor : 1\nflags : {second}\n"
)


def test_the_fingerprint_follows_processor_and_build_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(mhz: str = "1", flags: str = "avx", second: str = "", build: str = "1.0") -> str:
        files(monkeypatch, {"/proc/cpuinfo": CPU.format(mhz=mhz, flags=flags, second=second)})
        monkeypatch.setattr(importlib.metadata, "version", lambda _: build)
        return hardware.fingerprint()

    assert of() == of(mhz="2", second="another")
    assert of() != of(flags="avx amx_tile")
    assert of() != of(build="1.1")


def test_the_fingerprint_needs_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, {})
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.0")
    assert len(hardware.fingerprint()) == 16
