"""`jurat doctor` and `jurat reindex`; what they look at is tested in tests/unit/retrieval."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway import doctor, reindex
from retrieval.library import Library
from tests.unit.gateway.test_cli import write_config
from tests.unit.retrieval.fakes import BagEmbedder
from tests.unit.retrieval.test_indexes import spoiled


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    return ["--config", str(write_config(tmp_path))]


async def fill(state: Path) -> None:
    library = Library.open(state, BagEmbedder())
    store = await library.ensure_store("docs", "ann")
    await library.ingest(store.id, "ann", [("a.md", b"# A\n\nA paper jam.\n")])
    await library.search("jam", owner="ann", stores=["docs"])  # which builds its index
    library.close()


async def test_it_says_what_is_wrong_and_mends_it(
    state: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(state)
    assert doctor.main(config) == 0
    assert "0 problems" in capsys.readouterr().out
    spoiled(next((state / "indexes").glob("*/words/*.term")))
    assert doctor.main([*config, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "has changed" in found["problems"][0]["what"]
    assert doctor.main(config) == 1
    assert "1 problem, 1 left" in capsys.readouterr().out
    assert doctor.main([*config, "--repair"]) == 0
    assert "mended" in capsys.readouterr().out
    assert doctor.main(config) == 0


async def test_reindex(state: Path, config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    await fill(state)  # by another embedder than the configured one
    assert await asyncio.to_thread(reindex.main, config) == 0
    said = capsys.readouterr().out
    assert "files embedded anew: 1" in said
    assert "indexes were built: 1" in said
    assert await asyncio.to_thread(reindex.main, [*config, "--store", "nothing"]) == 1
    said = capsys.readouterr()
    assert "nothing" in said.err
    assert "embedded" not in said.out


async def test_a_gateway_that_runs_is_named(
    state: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(state)
    library = Library.open(state, BagEmbedder())
    assert doctor.main(config) == 0  # looking is no harm
    spoiled(next((state / "indexes").glob("*/words/*.term")))
    assert doctor.main([*config, "--repair"]) == 1
    assert f"process id {os.getpid()}" in capsys.readouterr().err
    assert await asyncio.to_thread(reindex.main, config) == 1
    assert f"process id {os.getpid()}" in capsys.readouterr().err
    library.close()


def test_no_documents(state: Path, config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(config) == 1
    assert "no documents" in capsys.readouterr().err
