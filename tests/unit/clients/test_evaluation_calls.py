"""Memory and energy of a run, from recorded readings."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clients.evaluation import calls, gpus
from clients.evaluation.calls import Call, read_calls, totals, watched
from clients.evaluation.endpoint import RESIDENT, is_local
from clients.evaluation.gpus import Gpu, Meter, list_gpus, visible

NAMES = [Gpu(index=n, uuid=f"GPU-{n}abc", name="Fake") for n in range(3)]
METRICS = """\
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.048576e+08
jurat_model_resident_bytes{model="a"} 2.0e+08
jurat_model_resident_bytes{model="org/b:1"} 3.0e+08
jurat_model_planned_bytes{device="host",model="a"} 9.0e+09
"""


class NVMLError(Exception):
    pass


class NotSupported(NVMLError):
    pass


class FakeDriver:
    """NVML with recorded readings; `old` GPUs tell their power only."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupported

    def __init__(self, *, there: bool = True, old: bool = False) -> None:
        self.there, self.old = there, old
        self.millijoules, self.milliwatts, self.used = 5_000_000, 100_000, 1000
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.there:
            raise NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(NAMES)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return NAMES[index].uuid

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUUID(self, device: str) -> str:
        return device

    def nvmlDeviceGetName(self, device: str) -> str:
        return "Fake"

    def nvmlDeviceGetMemoryInfo(self, device: str) -> Any:
        return SimpleNamespace(used=self.used)

    def nvmlDeviceGetTotalEnergyConsumption(self, device: str) -> int:
        if self.old:
            raise NotSupported
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, device: str) -> int:
        return self.milliwatts


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(None, [0, 1, 2]), ("", []), ("2,0", [2, 0]), ("GPU-1", [1]), ("1,9,0", [1]), ("-1", [])],
)
def test_cuda_visible_devices(wanted: str | None, found: list[int]) -> None:
    assert [gpu.index for gpu in visible(NAMES, wanted)] == found


def test_energy_is_the_difference_of_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(gpus, "pynvml", driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert list_gpus() == NAMES
    meter = Meter(list_gpus()[:2])
    meter.read()
    assert (meter.wh, meter.measured) == (0.0, True)
    driver.millijoules += 1_800_000
    driver.used = 5000
    meter.read()
    driver.used = 10
    meter.read()
    assert meter.wh == pytest.approx(2 * 1800 / 3600)  # of both
    assert meter.memory_bytes == 10_000
    driver.millijoules = 0  # the driver was loaded anew
    meter.read()
    assert meter.wh == pytest.approx(1.0)
    assert driver.open == 0


def test_where_there_is_no_counter_it_is_power_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(old=True)
    clock = iter([10.0, 46.0])
    monkeypatch.setattr(gpus, "pynvml", driver)
    monkeypatch.setattr(gpus, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    meter = Meter(NAMES[:1])
    meter.read()
    driver.milliwatts = 300_000
    meter.read()
    assert meter.wh == pytest.approx(200 * 36 / 3600)


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "pynvml", FakeDriver(there=False))
    assert list_gpus() == []
    meter = Meter(NAMES)
    meter.read()
    assert (meter.wh, meter.measured) == (0.0, False)


async def test_a_run_is_the_sum_of_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver()
    held = {"": 100, "m": 200}
    monkeypatch.setattr(gpus, "pynvml", driver)
    monkeypatch.setattr(calls, "resident", lambda *_: dict(held))
    for asked, more in ((3, 300), (1, 100)):
        async with watched(tmp_path, "http://127.0.0.1:1", None) as call:
            call.asked = asked
            driver.millijoules += 3_600_000
            held["m"] = more
    with (tmp_path / calls.CALLS).open("ab") as file:
        file.write(b'{"asked": 1')  # cut off
    found = totals(read_calls(tmp_path))
    assert found["energy_wh"] == pytest.approx(6.0)  # three GPUs, 1 Wh each, twice
    assert found["energy_wh_per_question"] == pytest.approx(1.5)
    assert found["memory_bytes"] == {"gateway": 100, "models": {"m": 300}, "gpus": 3000}
    assert found["gpus"] == ["Fake"] * 3


async def test_a_run_that_fails_is_measured_too_and_another_machine_has_no_gpus_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "pynvml", FakeDriver())
    monkeypatch.setattr(calls, "resident", lambda *_: {})
    with pytest.raises(ZeroDivisionError):
        async with watched(tmp_path, "http://192.0.2.1:1", None):
            raise ZeroDivisionError
    (call,) = read_calls(tmp_path)
    assert (call.energy_wh, call.gpus, call.gateway_bytes) == (None, [], None)
    assert totals([])["energy_wh"] is None
    assert totals([Call()])["energy_wh_per_question"] is None


def test_metrics_are_read() -> None:
    found = {model: float(size) for _, model, size in RESIDENT.findall(METRICS)}
    assert found == {"": 104857600.0, "a": 2e8, "org/b:1": 3e8}


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("https://example.org", False),
    ],
)
def test_which_endpoints_are_on_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local
