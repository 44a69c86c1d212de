"""The command: finding subcommands, refusing what is wrong in one line."""

import socket
from pathlib import Path

import pytest

from gateway import cli, logs
from gateway.serve import listen
from gateway.toml import ConfigError
from gateway.version import VERSION


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JURAT_DATA_DIR", str(tmp_path / "state"))
    # `serve` configures logging for its process, which here is the tests'.
    monkeypatch.setattr(logs, "configure", lambda level: None)


def write_config(folder: Path, text: str = "") -> Path:
    for name in ("models", "ensembles"):
        (folder / name).mkdir()
    path = folder / "gateway.toml"
    path.write_text('[retrieval]\nembedder = "fake"\n' + text)
    (folder / "models" / "fake.toml").write_text('id = "fake"\nkind = "fake"\n')
    return path


def test_every_command_says_what_it_is_for() -> None:
    assert set(cli.SUMMARIES) == set(cli.commands())


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jurat {VERSION}\n"
    assert cli.main(["--help"]) == 0
    assert "serve" in capsys.readouterr().out
    assert cli.main([]) == 2


def test_an_unknown_command_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serv"]) == 2
    assert "Did you mean 'serve'?" in capsys.readouterr().err


def test_check_config_shows_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, '[auth]\nkeys = ["alice:topsecret"]\n')
    assert cli.main(["check-config", "--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert "fake" in out
    assert "topsecret" not in out


def test_check_config_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, "[server]\nprot = 1\n")
    assert cli.main(["check-config", "--config", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "'server.prot'" in err


def test_check_config_says_which_model_has_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    (tmp_path / "text.gguf").write_text("This is no model.")
    for kind, source in (
        ("chat", "lost.gguf"),
        ("chat", "text.gguf"),
        ("embedding", "gateway.toml"),
    ):
        text = f'id = "mine"\nkind = "{kind}"\nsource = "file:{source}"\n'
        (tmp_path / "models" / "mine.toml").write_text(text)
        assert cli.main(["check-config", "--config", str(path)]) == 1
        err = capsys.readouterr().err
        assert "mine" in err
        assert source in err


def test_two_models_of_one_id_name_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    (tmp_path / "models" / "other.toml").write_text('id = "fake"\nkind = "fake"\n')
    assert cli.main(["check-config", "--config", str(path)]) == 1
    err = capsys.readouterr().err
    assert "fake.toml" in err
    assert "other.toml" in err


def test_beyond_loopback_without_a_key_it_refuses_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    assert cli.main(["serve", "--config", str(path), "--host", "0.0.0.0"]) == 1
    assert "JURAT_API_KEYS=name:key" in capsys.readouterr().err


def test_a_port_in_use_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--config", str(path), "--port", str(port)]) == 1
    err = capsys.readouterr().err
    assert f"Port {port} on 127.0.0.1 is in use" in err


def test_a_bad_port_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--config", str(path), "--port", "many"])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-host"):
        listen("no-such-host.invalid", 0)
