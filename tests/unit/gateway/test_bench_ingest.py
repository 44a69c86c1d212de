import asyncio
import json
from pathlib import Path

import pytest

from gateway import bench_ingest
from tests.unit.gateway.test_cli import write_config


async def test_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    (tmp_path / "docs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nA lamp is blue.\n")
    config = str(write_config(tmp_path))
    arguments = [str(tmp_path / "docs"), "--config", config, "--rounds", "1", "--json"]
    assert await asyncio.to_thread(bench_ingest.main, arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["texts"]) == (2, 2)
    assert all(value > 0 for value in found.values())
