"""docs/tutorial.ipynb, cell by cell, against a gateway whose models are fake."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from clients.evaluation import plot
from clients.evaluation.main import SUBCOMMANDS
from clients.evaluation.plots import FIGURES
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.settings import StoreSettings
from models.engines.fake import FakeEngine
from models.types import GenerateRequest
from tests.contract.serving import configuration, serve, wait_ready

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
MODEL = "smollm2-135m"
DOCUMENT = "To reset an R200, keep its button pressed for 12 seconds."


def reply(request: GenerateRequest) -> str:
    return json.dumps({"answer_value": "12 seconds", "passages": [1], "is_blank": False})


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    found = configuration(tmp_path, models=("embedder", MODEL))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "routers.txt").write_text(DOCUMENT)
    ensemble = EnsembleSettings(
        id="rag-ensemble",
        members=tuple(Member(model=MODEL, name=name) for name in ("a", "b", "c")),
        stores=("docs",),
    )
    settings = msgspec.structs.replace(
        found.settings, stores=[StoreSettings(name="docs", paths=["docs"])]
    )
    found = msgspec.structs.replace(found, settings=settings, ensembles={"rag-ensemble": ensemble})
    engines = {"embedder": FakeEngine(), MODEL: FakeEngine(reply=reply)}
    with serve(found, engines) as served:
        with httpx.Client(base_url=served, timeout=20) as http:
            wait_ready(http)
        monkeypatch.setenv("JURAT_URL", served)
        yield served


def test_every_cell_runs(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # the notebook goes elsewhere; this brings the next test back
    few = {name: FIGURES[name] for name in ("ranking", "size_scores")}
    monkeypatch.setattr(plot, "FIGURES", few)  # all of them take long to lay out
    monkeypatch.setattr(plot, "DPI", 40)
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    asked = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "outputs are not stored"
        source = "".join(cell["source"])
        asked += source
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    out = capsys.readouterr().out
    assert "5 questions" in out
    assert "is_NA" in out
    assert Path("plots/report.html").is_file()
    summary = json.loads(Path("artifacts/experiments/three/summary.json").read_bytes())
    assert summary["errors"] == 0
    assert 0 < summary["score"]["overall"] < 1
    assert summary["timings_ms"]["retrieval_ms"]["p50"] >= 0
    assert summary["memory_bytes"]["gateway"] > 0
    missing = [name for name in SUBCOMMANDS if f"{name} " not in asked]
    assert missing == ["bench", "live"]  # for developers; and too long for a tutorial
