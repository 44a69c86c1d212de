"""SIGHUP reads the catalog again, in a real process."""

import signal
from pathlib import Path

from tests.e2e.serving import serve

MODEL = 'id = "{id}"\nkind = "fake"\n'


def test_sighup_reads_the_catalog_again_and_an_error_changes_nothing(tmp_path: Path) -> None:
    for name in ("models", "ensembles"):
        (tmp_path / name).mkdir()
    models = tmp_path / "models"
    (models / "first.toml").write_text(MODEL.format(id="first"))
    config = tmp_path / "gateway.toml"
    config.write_text("[server]\nport = 0\n")
    with serve(tmp_path, "--config", str(config)) as gateway:
        gateway.wait_ready()
        (models / "second.toml").write_text("nonsense = true\n")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for(lambda: "second.toml" in gateway.log.read_text(), "the error")
        assert list(gateway.get("/health")["models"]) == ["first"]
        (models / "second.toml").write_text(MODEL.format(id="second"))
        (models / "first.toml").unlink()
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for(lambda: list(gateway.get("/health")["models"]) == ["second"], "the change")
