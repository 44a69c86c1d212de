"""What is remembered of the loads that were tried."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.engines import trials
from models.engines.trials import Trials
from models.worker.messages import Trial, WorkerSpec

MEASURED = Trial(tokens=64, prompt_ms=400.0, state_bytes=1_500_000, step_ms=20.0)


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    """Of a file that is there."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    return WorkerSpec(model="m", kind="chat", path=str(file), threads=2, core_lock="/run/1/cores")


def test_a_load_is_known_by_its_settings_and_files(spec: WorkerSpec, tmp_path: Path) -> None:
    known = Trials(tmp_path / "folder" / "machine.json")
    assert known.of(spec) is None
    known.passed(spec, MEASURED)
    again = Trials(tmp_path / "folder" / "machine.json")
    # Of another gateway, whose lock lies elsewhere.
    assert again.of(replace(spec, core_lock="/run/2/cores", trial=MEASURED)) == MEASURED
    assert again.of(replace(spec, threads=1)) is None
    assert again.of(replace(spec, safe_mode=True)) is None
    assert again.of(replace(spec, kv_type="q8_0")) is None
    os.utime(spec.path, ns=(1, 1))
    assert again.of(spec) is None


def test_it_is_tried_again_once_forgotten(spec: WorkerSpec, tmp_path: Path) -> None:
    known = Trials(tmp_path / "machine.json")
    known.passed(spec, MEASURED)
    known.need_safe_mode("signal SIGSEGV")
    known.forget(spec)
    assert known.of(spec) is None
    assert known.safe_mode_needed()


def test_another_machine_knows_nothing(
    spec: WorkerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Trials(tmp_path / "machine.json")
    known.passed(spec, MEASURED)
    known.need_safe_mode("signal SIGILL")
    monkeypatch.setattr(trials, "fingerprint", lambda: "another")
    assert known.of(spec) is None
    assert not known.safe_mode_needed()


def test_only_the_latest_are_kept(spec: WorkerSpec, tmp_path: Path) -> None:
    known = Trials(tmp_path / "machine.json")
    for number in range(trials.KEPT + 1):
        known.passed(replace(spec, model=str(number)), MEASURED)
    assert known.of(replace(spec, model="0")) is None
    assert known.of(replace(spec, model="1")) == MEASURED


@pytest.mark.parametrize("text", [b"", b"{", b'{"0123456789abcdef": "signal SIGSEGV"}'])
def test_a_file_that_cannot_be_read_says_nothing(
    spec: WorkerSpec, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "machine.json").write_bytes(text)
    known = Trials(tmp_path / "machine.json")
    assert known.of(spec) is None
    assert not known.safe_mode_needed()
    known.passed(spec, MEASURED)
    assert known.of(spec) == MEASURED


def test_a_folder_that_cannot_be_written_is_no_error(
    spec: WorkerSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    known = Trials(tmp_path / "file" / "machine.json")
    known.passed(spec, MEASURED)
    assert "cannot be remembered" in caplog.text
