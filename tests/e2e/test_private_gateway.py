"""Commands where no gateway runs."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from clients import private_gateway, stores
from clients.api import ClientError
from clients.private_gateway import reachable_gateway
from tests.gguf_models import write_minilm

CLOSED = "http://127.0.0.1:9"  # the port of a protocol that nobody serves any more


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with nothing to load but a tiny embedder; no gateway is named or running."""
    (tmp_path / "models").mkdir()
    (tmp_path / "ensembles").mkdir()
    write_minilm(tmp_path / "tiny.gguf", layers=1)
    (tmp_path / "models" / "tiny.toml").write_text(
        f'id = "tiny"\nkind = "embedding"\nsource = "file:{tmp_path / "tiny.gguf"}"\n'
    )
    config = tmp_path / "gateway.toml"
    config.write_text('[retrieval]\nembedder = "tiny"\n')
    monkeypatch.setenv("JURAT_CONFIG", str(config))
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("JURAT_URL", raising=False)
    monkeypatch.setattr(private_gateway, "DEFAULT_URL", CLOSED)
    return config


def gateways() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children(recursive=True) if "serve" in child.cmdline()
    ]


def test_a_private_gateway_serves_one_command(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stores.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stores": []}
    assert gateways() == []


def test_it_ends_when_its_command_is_killed(configured: Path) -> None:
    script = (
        f"import clients.private_gateway as p; p.DEFAULT_URL = '{CLOSED}'\n"
        "with p.reachable_gateway(None) as url: print(url, flush=True); input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        (gateway,) = gateways()
        process.kill()
    gateway.wait(60)


def test_what_is_wrong_is_said(configured: Path) -> None:
    configured.write_text("[serve]\n")
    with pytest.raises(ClientError, match=r"does not start: .*'server'"), reachable_gateway(None):
        pass
