"""Variables: one for every setting, checked like the file, secrets kept out of messages."""

from pathlib import Path

import msgspec
import pytest

from gateway.environment import overlay, read_environment, variables
from gateway.settings import GatewaySettings
from gateway.toml import ConfigError


def settings(
    environment: dict[str, str], table: dict[str, object] | None = None
) -> GatewaySettings:
    return msgspec.convert(overlay(table or {}, environment), GatewaySettings)


def test_every_setting_has_a_variable() -> None:
    names = variables()
    for expected in (
        "JURAT_SERVER_HOST",
        "JURAT_SERVER_PORT",
        "JURAT_SERVER_MAX_BODY_BYTES",
        "JURAT_AUTH_KEYS",
        "JURAT_MODELS_DIRECTORY",
        "JURAT_RETRIEVAL_EMBEDDER",
        "JURAT_RETRIEVAL_CHUNK_TOKENS",
        "JURAT_STORES",
    ):
        assert expected in names


def test_variables_win_over_the_file() -> None:
    found = settings(
        {"JURAT_SERVER_PORT": "9", "JURAT_SERVER_KEEP_ALIVE_S": "0.5"},
        {"server": {"port": 8, "host": "::1"}},
    )
    assert (found.server.port, found.server.host, found.server.keep_alive_s) == (9, "::1", 0.5)


def test_stores_are_json() -> None:
    found = settings({"JURAT_STORES": '[{"name": "a", "paths": ["b"]}]'})
    assert [(store.name, store.read) for store in found.stores] == [("a", ["*"])]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JURAT_SERVER_PORT", "many"),
        ("JURAT_SERVER_PORT", "70000"),
        ("JURAT_SERVER_LOG_LEVEL", "loud"),
        ("JURAT_STORES", "not json"),
        ("JURAT_STORES", '[{"name": "a"}]'),
    ],
)
def test_a_bad_value_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings({name: value})


def test_keys_come_from_variables_and_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("carol:k3\ndave:k4\n")
    found = settings(
        {"JURAT_API_KEYS": "alice:k1, bob:k2", "JURAT_API_KEYS_FILE": str(path)},
        {"auth": {"keys": ["old:k0"]}},
    )
    assert found.auth.keys == ["alice:k1", "bob:k2", "carol:k3", "dave:k4"]
    assert "k1" not in repr(found)
    assert "alice" in repr(found)


@pytest.mark.parametrize("value", ["justasecret", "name:two words", ":secret", "a:b,justasecret"])
def test_a_bad_key_is_not_repeated(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({"JURAT_API_KEYS": value})
    assert "JURAT_API_KEYS" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "words" not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"JURAT_API_KEYS_FILE.*nowhere"):
        settings({"JURAT_API_KEYS_FILE": str(tmp_path / "nowhere")})


def test_an_unknown_variable_offers_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JURAT_SERVER_PROT", "1")
    with pytest.raises(ConfigError, match=r"JURAT_SERVER_PROT.*'JURAT_SERVER_PORT'"):
        read_environment(tmp_path)


def test_dotenv_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("JURAT_SERVER_PORT=1\nJURAT_SERVER_HOST=::1\nOTHER=x\n")
    monkeypatch.setenv("JURAT_SERVER_PORT", "2")
    found = read_environment(tmp_path)
    assert found["JURAT_SERVER_PORT"] == "2"
    assert found["JURAT_SERVER_HOST"] == "::1"
    assert "OTHER" not in found
