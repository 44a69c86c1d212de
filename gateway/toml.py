"""TOML files into Structs, strictly: every error names the file and the place in it."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import msgspec

from gateway.offered import instead_of

__all__ = [
    "ConfigError",
    "convert",
    "describe",
    "is_struct",
    "nearest",
    "read_table",
    "read_toml",
    "struct_fields",
    "structs_in",
]

T = TypeVar("T")

PATH_SUFFIX = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


class ConfigError(Exception):
    """The configuration is wrong; the message names the file or variable and the place."""


def read_toml(path: Path, kind: type[T]) -> T:
    """Decode a file; raises ConfigError."""
    return convert(read_table(path), kind, str(path))


def read_table(path: Path) -> dict[str, Any]:
    """The raw table of a file; raises ConfigError."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {_with_line(str(error))}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}.") from error


def convert(table: Mapping[str, Any], kind: type[T], origin: str) -> T:
    """A table as a Struct. `origin` is the file's name, for messages."""
    for key, known in _unknown_keys(table, kind, ""):
        raise ConfigError(f"{origin}: unknown key '{key}'.{nearest(key.split('.')[-1], known)}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {describe(error, table, kind)}") from error


def describe(error: Exception, value: Any, kind: Any) -> str:
    """msgspec's message of a value that is no `kind`, its place first: `server.port: Expected ...`.

    Where a setting has few values, the message says which.
    """
    match = PATH_SUFFIX.match(str(error))
    assert match is not None
    text, path = match["text"], (match["path"] or "").removeprefix("$").removeprefix(".")
    text = instead_of(text, path, value, kind)
    return f"{path}: {text}." if path else f"{text}."


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or lists them all; empty if none."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}." if names else ""


def struct_fields(kind: Any) -> dict[str, Any]:
    """Field names and types of a Struct, by the name used in files."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _unknown_keys(value: Any, kind: Any, path: str) -> Iterable[tuple[str, list[str]]]:
    """Dotted unknown keys below `path`, each with the keys known there."""
    for struct in structs_in(kind):
        if isinstance(value, Mapping):
            fields = struct_fields(struct)
            for key, item in cast("Mapping[str, Any]", value).items():
                place = f"{path}.{key}" if path else key
                if key not in fields:
                    yield place, list(fields)
                else:
                    yield from _unknown_keys(item, fields[key], place)
        elif isinstance(value, list):
            for number, item in enumerate(cast("list[Any]", value)):
                yield from _unknown_keys(item, struct, f"{path}[{number}]")


def is_struct(kind: Any) -> bool:
    """Whether a type is a Struct, a table in TOML."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def structs_in(kind: Any) -> list[Any]:
    """The Structs of a type: itself, its items', or its optional's."""
    if is_struct(kind):
        return [kind]
    found = [struct for item in get_args(kind) for struct in structs_in(item)]
    # Which of several Structs a table stands for is msgspec's to say, not ours.
    return found if len(found) == 1 else []


def _with_line(message: str) -> str:
    """tomllib's `Text (at line 3, column 5)` as `line 3, column 5: Text.`"""
    match = re.match(r"(?P<text>.*) \(at (?P<place>.*)\)$", message, re.DOTALL)
    return f"{match['place']}: {match['text']}." if match else f"{message}."
