"""Every mistake in a TOML file names the file, the place and, for a key, the nearest known one."""

from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from gateway.toml import ConfigError, read_toml


def read(tmp_path: Path, text: str) -> GatewaySettings:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return read_toml(path, GatewaySettings)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == GatewaySettings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1\n", ["unknown key 'server.prot'", "Did you mean 'port'?"]),
        ("[servr]\nport = 1\n", ["unknown key 'servr'", "Did you mean 'server'?"]),
        (
            "[[stores]]\nname = 'a'\npaths = ['b']\nreaders = ['*']\n",
            ["unknown key 'stores[0].readers'", "Did you mean 'read'?"],
        ),
        ("[server]\nport = 'x'\n", ["server.port: Expected `int`, got `str`"]),
        ("[server]\nport = 70000\n", ["server.port: Expected `int` <= 65535"]),
        ("[[stores]]\nname = 'a'\n", ["stores[0]: Object missing required field `paths`"]),
        ("[server]\nport = \n", ["line 2, column 8"]),
        ("server = 3\n", ["server: Expected `object`, got `int`"]),
        ("[retrieval]\nchunk_tokens = 1\n", ["retrieval: chunk_tokens must be at least"]),
    ],
)
def test_a_mistake_names_the_file_and_the_place(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "gateway.toml"))
    for part in expected:
        assert part in str(caught.value)


def test_a_key_never_appears_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "[auth]\nkeys = ['no-colon-secret']\n")
    assert "auth.keys[0]" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
        read_toml(tmp_path / "missing.toml", GatewaySettings)
    with pytest.raises(ConfigError, match="directory"):
        read_toml(tmp_path, GatewaySettings)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml: not UTF-8"):
        read_toml(latin, GatewaySettings)
