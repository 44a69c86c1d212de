"""Finding and reading the configuration: gateway.toml, models/*.toml and ensembles/*.toml."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

import platformdirs
from msgspec import Struct

from gateway.ensemble.settings import EnsembleSettings
from gateway.environment import overlay, read_environment
from gateway.settings import GatewaySettings
from gateway.toml import ConfigError, convert, nearest, read_table
from models.settings import ModelSettings

__all__ = ["Configuration", "load_configuration"]


class _Identified(Protocol):
    """Settings with an id."""

    @property
    def id(self) -> str: ...


Entry = TypeVar("Entry", bound=_Identified)


class Configuration(Struct, frozen=True, kw_only=True):
    """Everything `create_app` needs. Relative paths in it are relative to `directory`."""

    settings: GatewaySettings
    models: dict[str, ModelSettings]
    ensembles: dict[str, EnsembleSettings]
    source: Path  # gateway.toml
    directory: Path
    data_dir: Path


def load_configuration(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Configuration:
    """Read the configuration; raises ConfigError.

    `environment` replaces the process's own; `overrides` are variables that win over it
    (the command line's options).
    """
    if environment is None:
        environment = read_environment(Path.cwd())
    environment = {**environment, **(overrides or {})}
    source = _find(path, environment)
    settings = convert(overlay(read_table(source), environment), GatewaySettings, str(source))
    directory = source.resolve().parent
    models = _read_directory(directory / settings.models.directory, ModelSettings)
    ensembles = _read_directory(
        directory / settings.ensembles.directory, EnsembleSettings, inherit=True
    )
    _check_ids(models, ensembles)
    _check_references(settings, models, ensembles, source)
    return Configuration(
        settings=settings,
        models={name: entry for name, (entry, _) in models.items()},
        ensembles={name: entry for name, (entry, _) in ensembles.items()},
        source=source,
        directory=directory,
        data_dir=_data_dir(environment),
    )


def _find(path: Path | None, environment: Mapping[str, str]) -> Path:
    """--config, JURAT_CONFIG, ./configs/gateway.toml, the installed default."""
    if path is not None:
        return path.expanduser()
    if "JURAT_CONFIG" in environment:
        return Path(environment["JURAT_CONFIG"]).expanduser()
    local = Path("configs") / "gateway.toml"
    if local.is_file():
        return local
    # `configs` holds no Python: it is a namespace package, so its root is a multiplexed path.
    return Path(os.fspath(files("configs").joinpath("gateway.toml")))  # type: ignore[call-overload]


def _data_dir(environment: Mapping[str, str]) -> Path:
    given = environment.get("JURAT_DATA_DIR")
    path = Path(given).expanduser() if given else Path(platformdirs.user_data_dir("jurat", False))
    return path.absolute()


def _read_directory(
    directory: Path, kind: type[Entry], *, inherit: bool = False
) -> dict[str, tuple[Entry, Path]]:
    """All TOML files of a folder by id, with the file each came from.

    With `inherit` a file may say `like = "ID"`: what it does not set, it has from that other one.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such folder.")
    tables = {path: read_table(path) for path in sorted(directory.glob("*.toml"))}
    found: dict[str, tuple[Entry, Path]] = {}
    for path, table in tables.items():
        whole = _inherited(path, tables) if inherit else table
        entry = convert(whole, kind, str(path))
        if entry.id in found:
            raise ConfigError(f"{path}: the id '{entry.id}' is taken by {found[entry.id][1]}.")
        found[entry.id] = (entry, path)
    return found


def _inherited(path: Path, tables: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """A file's table over the ones it is like."""
    by_id = {table.get("id"): at for at, table in tables.items()}
    whole: dict[str, Any] = {}
    seen: list[Path] = []
    at = path
    while True:
        if at in seen:
            raise ConfigError(f"{path}: like: {' is like '.join(p.name for p in [*seen, at])}.")
        seen.append(at)
        whole = {**tables[at], **whole}
        name = tables[at].get("like")
        if name is None:
            break
        if not isinstance(name, str) or name not in by_id:
            known = [str(each) for each in by_id if each is not None]
            raise ConfigError(f"{at}: like: no ensemble '{name}'.{nearest(str(name), known)}")
        at = by_id[name]
    # A description is of the one file, and what is not its own would mislead.
    if "description" not in tables[path]:
        whole.pop("description", None)
    whole.pop("like", None)
    return whole


def _check_ids(
    models: Mapping[str, tuple[ModelSettings, Path]],
    ensembles: Mapping[str, tuple[EnsembleSettings, Path]],
) -> None:
    taken = {name: path for name, (_, path) in models.items()}
    for model, path in models.values():
        for alias in model.aliases:
            if alias in taken:
                raise ConfigError(f"{path}: aliases: '{alias}' is taken by {taken[alias]}.")
            taken[alias] = path
    for name, (_, path) in ensembles.items():
        if name in taken:
            raise ConfigError(f"{path}: the id '{name}' is taken by {taken[name]}.")


def _check_references(
    settings: GatewaySettings,
    models: Mapping[str, tuple[ModelSettings, Path]],
    ensembles: Mapping[str, tuple[EnsembleSettings, Path]],
    source: Path,
) -> None:
    """Names that the files use of each other exist."""
    kinds = {name: model.kind for name, (model, _) in models.items()}
    kinds |= {alias: model.kind for model, _ in models.values() for alias in model.aliases}
    for ensemble, path in ensembles.values():
        asked = [(f"members[{at}].model", one.model) for at, one in enumerate(ensemble.members)]
        for key, model in [*asked, ("judge", ensemble.judge)] if ensemble.judge else asked:
            kind = kinds.get(model) or kinds.get(model.rpartition(":")[0])
            if kind is None:
                raise ConfigError(f"{path}: {key}: no model '{model}'.{nearest(model, models)}")
            if kind not in ("chat", "fake"):
                raise ConfigError(
                    f"{path}: {key}: '{model}' is of kind '{kind}'; it must be of kind \"chat\"."
                )
    embedder = settings.retrieval.embedder
    if embedder not in models and (settings.stores or ensembles):
        raise ConfigError(
            f"{source}: retrieval.embedder: no model '{embedder}'.{nearest(embedder, models)}"
        )
    others = (
        ("reranker", settings.retrieval.reranker, "rerank"),
        ("rewrite_model", settings.retrieval.rewrite_model, "chat"),
    )
    for key, model, kind in others:
        if model and model not in models:
            raise ConfigError(
                f"{source}: retrieval.{key}: no model '{model}'.{nearest(model, models)}"
            )
        if model and models[model][0].kind not in (kind, "fake"):
            raise ConfigError(
                f"{source}: retrieval.{key}: '{model}' is of kind '{models[model][0].kind}'; "
                f'it must be of kind "{kind}".'
            )
