"""jurat bench-models on a model of random weights. How fast that is, no test says."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from models.bench import main
from tests.tiny_models import CONTEXT, write_windowed


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    write_windowed(path, window=0)
    return f"file:{path}"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main([*argv, "--context", str(CONTEXT), "--rounds", "2"])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_load_is_compared_with_llama_cpp_alone(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "load", source)
    assert status == 0
    assert "a worker, until it is ready" in out
    assert "1.15 times llama.cpp's and 0.5 s" in out


def test_the_way_to_a_warm_model_is_what_the_worker_does_not_see(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "hop", source)
    assert status == 0
    assert "ms at the median" in out


def test_two_models_in_turn_and_at_once(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, "turns", source, source, "--json", "--prompt", "3", "--tokens", "4"
    )
    assert status == 0
    found = json.loads(out)["seconds"]
    assert [len(found[key]) for key in ("values", "against")] == [2, 2]


def test_a_peer_that_fails_and_a_file_that_is_not_there_are_named(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    python = shlex.quote(sys.executable)
    failing = f"{python} -c 'import sys; sys.exit(sys.argv[1])' {{file}}"
    status, _, err = run(capsys, "load", source, "--peer", failing)
    assert status == 1
    assert "ended with 1" in err
    assert source.removeprefix("file:") in err
    status, _, err = run(capsys, "load", "file:/nowhere.gguf")
    assert status == 1
    assert "/nowhere.gguf" in err
