"""An ensemble's file: reading the one to start from, and writing the one that was learnt."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clients.api import ClientError
from gateway.config_files import Configuration, load_configuration
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.toml import ConfigError

__all__ = ["path_of", "read_configuration", "settings_of", "toml_of", "write"]


def read_configuration(path: Path | None) -> Configuration:
    """The configuration that `jurat serve` would read. Raises ClientError."""
    try:
        return load_configuration(path)
    except ConfigError as error:
        raise ClientError(str(error)) from error


def settings_of(found: Configuration, name: str) -> EnsembleSettings:
    """An ensemble's settings, with those of the file that it is like. Raises ClientError."""
    if name not in found.ensembles:
        known = ", ".join(found.ensembles) or "none"
        raise ClientError(f"{found.source}: there is no ensemble '{name}' (there are: {known}).")
    return found.ensembles[name]


def path_of(found: Configuration, name: str, *, force: bool) -> Path:
    """Where an ensemble of that name is written. Raises ClientError: it would replace a file."""
    if not name or name.startswith(".") or Path(name).name != name:
        raise ClientError(f"--name: '{name}' cannot be a file's name.")
    path = found.directory / found.settings.ensembles.directory / f"{name}.toml"
    if path.exists() and not force:
        raise ClientError(f"{path} is there already. Give another --name, or --force.")
    return path


def write(
    found: Configuration,
    base: EnsembleSettings,
    path: Path,
    changes: Mapping[str, object],
    notes: Sequence[str],
) -> None:
    """Write an ensemble like `base` but for the changes; `notes` are its comment.

    The gateway's own reader must take the whole configuration with it, and read what was meant:
    else the folder is left as it was. Raises ClientError.
    """
    name = path.stem
    meant = msgspec.structs.replace(base, id=name, description=notes[0], **changes)
    text = toml_of(name, base.id, notes, changes)
    try:
        before = path.read_bytes() if path.exists() else None
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClientError(f"Cannot write {path}: {error.strerror}.") from error
    why = ""
    try:
        if load_configuration(found.source).ensembles.get(name) != meant:
            why = f"{path} does not say what was meant"
    except ConfigError as error:
        why = str(error)
    if why:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise ClientError(f"{why} The file was not kept.")


def toml_of(name: str, base: str, notes: Sequence[str], changes: Mapping[str, object]) -> str:
    """The file's text: plain values first, then tables, members last."""
    lines = [f"# {note}" for note in notes]
    lines += ["", f"id = {_plain(name)}", f"like = {_plain(base)}"]
    lines.append(f"description = {_plain(notes[0])}")
    tables: list[str] = []
    for key, value in changes.items():
        if key == "members":
            continue
        if isinstance(value, Mapping):
            tables += ["", f"[{key}]", *_lines(value)]  # pyright: ignore[reportUnknownArgumentType]
        else:
            lines.append(f"{key} = {_plain(value)}")
    members: Any = changes.get("members", ())
    for member in members:
        tables += ["", "[[members]]", *_lines(_set_in(member))]
    return "\n".join([*lines, *tables]) + "\n"


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_plain(value)}" for key, value in table.items()]


def _set_in(member: Member) -> dict[str, object]:
    """What a member says that is not as usual."""
    usual = msgspec.structs.asdict(Member(model=member.model))
    own = msgspec.structs.asdict(member)
    return {key: value for key, value in own.items() if key == "model" or value != usual[key]}


def _plain(value: object) -> str:
    """A text, number or flag as TOML has it, which is as JSON has it but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
