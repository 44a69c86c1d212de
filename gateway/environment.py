"""Settings from the environment: every key of gateway.toml has a variable JURAT_<SECTION>_<KEY>.

A list is comma separated; a list of tables (JURAT_STORES) is JSON. Beside these there are
JURAT_CONFIG, JURAT_DATA_DIR, JURAT_API_KEYS and JURAT_API_KEYS_FILE. A variable wins over the
file; one that is set but empty counts as absent. No message repeats a value: it may be a secret.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_origin

import msgspec
from dotenv import dotenv_values

from gateway.settings import GatewaySettings
from gateway.toml import ConfigError, describe, is_struct, nearest, struct_fields, structs_in

__all__ = ["PREFIX", "hub_token", "overlay", "read_environment", "variables"]

PREFIX = "JURAT_"
API_KEYS = "JURAT_API_KEYS"
API_KEYS_FILE = "JURAT_API_KEYS_FILE"
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 (a variable's name)
HUB_TOKEN_FILE = "HF_TOKEN_FILE"  # noqa: S105
# The last two are the client commands' own: which gateway to talk to, and with which key.
SPECIAL = (
    "JURAT_CONFIG",
    "JURAT_DATA_DIR",
    API_KEYS,
    API_KEYS_FILE,
    "JURAT_URL",
    "JURAT_API_KEY",
)


def read_environment(directory: Path) -> dict[str, str]:
    """The process's variables over those of `directory/.env`. Raises ConfigError for unknown ones.

    Only Jurat's own variables, HF_TOKEN and HF_TOKEN_FILE are taken from the file.
    """
    dotenv = directory / ".env"
    try:
        found = dotenv_values(dotenv, interpolate=False) if dotenv.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{dotenv}: cannot be read as text.") from error
    merged = {**{k: v for k, v in found.items() if v is not None}, **os.environ}
    ours = {
        name: value
        for name, value in merged.items()
        if name.startswith((PREFIX, "HF_TOKEN")) and value
    }
    known = [*variables(), *SPECIAL]
    for name in ours:
        if name.startswith(PREFIX) and name not in known:
            raise ConfigError(f"Unknown environment variable {name}.{nearest(name, known)}")
    return ours


def variables() -> dict[str, tuple[tuple[str, ...], Any]]:
    """Each variable's path in gateway.toml and its type."""
    return dict(_walk(GatewaySettings, ()))


def overlay(table: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """gateway.toml's table with the variables laid over it. Raises ConfigError."""
    result = _copy(table)
    for name, (path, kind) in variables().items():
        if name in environment:
            _put(result, path, _value(name, environment[name], kind))
    keys = _api_keys(environment)
    if keys:
        _put(result, ("auth", "keys"), keys)
    return result


def hub_token(environment: Mapping[str, str]) -> str:
    """The model hub's token: HF_TOKEN, or what the file HF_TOKEN_FILE holds. Raises ConfigError."""
    if token := environment.get(HUB_TOKEN, "").strip():
        return token
    if HUB_TOKEN_FILE not in environment:
        return ""
    path = Path(environment[HUB_TOKEN_FILE]).expanduser()
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{HUB_TOKEN_FILE}: {path} cannot be read as text.") from error


def _walk(struct: Any, path: tuple[str, ...]) -> list[tuple[str, tuple[tuple[str, ...], Any]]]:
    found: list[tuple[str, tuple[tuple[str, ...], Any]]] = []
    for name, kind in struct_fields(struct).items():
        here = (*path, name)
        if is_struct(kind):
            found += _walk(kind, here)
        else:
            found.append((PREFIX + "_".join(here).upper(), (here, kind)))
    return found


def _value(name: str, text: str, kind: Any) -> Any:
    """A variable's text as the type of its setting."""
    is_list = _is_list(kind)
    try:
        if is_list and structs_in(kind):
            msgspec.json.decode(text, type=kind)
            return msgspec.json.decode(text)
        raw = _split(text) if is_list else text
        return msgspec.to_builtins(msgspec.convert(raw, kind, strict=False))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # msgspec quotes a string that is not one of a Literal's values: it is no secret there.
        raise ConfigError(f"{name}: {describe(error, text, kind)}") from error


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or any(_is_list(item) for item in get_args(kind))


def _api_keys(environment: Mapping[str, str]) -> list[str]:
    """The entries of JURAT_AUTH_KEYS, JURAT_API_KEYS and the file, checked one by one."""
    _, kind = variables()["JURAT_AUTH_KEYS"]
    found: list[str] = []
    for name in ("JURAT_AUTH_KEYS", API_KEYS):
        if name in environment:
            found += _value(name, environment[name], kind)
    if API_KEYS_FILE in environment:
        path = Path(environment[API_KEYS_FILE]).expanduser()
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{API_KEYS_FILE}: {path} cannot be read as text.") from error
        found += _value(f"{API_KEYS_FILE} ({path})", ",".join(text.splitlines()), kind)
    return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",", text) if part.strip()]


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copy(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        for key, value in table.items()
    }


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return  # convert() will say that this is not a table
        table = cast("dict[str, Any]", inner)
    table[path[-1]] = value
