"""`jurat pull`, `rm` and `models`: the files of models. They need no running gateway."""

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from gateway.config_files import Configuration, load_configuration
from gateway.environment import hub_token, read_environment
from gateway.toml import ConfigError, nearest
from models.downloads import pull as fetch
from models.errors import ModelError, SourceError
from models.hub import Hub
from models.hub_cache import Record, cached, find_record, read_records, remove
from models.hub_names import Reference, references_of
from models.pull_events import Pulled
from models.settings import ModelSettings, at_precision
from models.sources import adapters, locate

__all__ = ["models", "pull", "rm"]

SHORT_COMMIT = 12
INTERRUPTED = 130
WIDE = 400  # columns


class Catalog:
    """The models of the configuration, and where their files would be."""

    def __init__(self, found: Configuration) -> None:
        self.models = found.models
        self.data_dir = found.data_dir
        self.directory = found.directory
        self._names = {alias: one.id for one in found.models.values() for alias in one.aliases}

    def settings(self, name: str) -> ModelSettings:
        """A model by its id, an alias or `ID:QUANT`. Raises ConfigError, InvalidRequest."""
        known = self._names.get(name, name)
        if known in self.models:
            return self.models[known]
        base, _, quant = name.rpartition(":")
        base = self._names.get(base, base)
        if base not in self.models:
            raise ConfigError(f"There is no model '{name}'.{nearest(name, self.models)}")
        return at_precision(self.models[base], quant)

    def references(self, name: str) -> tuple[Reference, ...]:
        """What is fetched for a model, itself last. Raises ConfigError, SourceError."""
        return references_of(name, self.settings)

    def pulled(self, model: ModelSettings) -> list[Record]:
        """What is here of a model and its adapters from a hub."""
        try:
            found = [
                cached(each, self.data_dir) for each in references_of(model.id, lambda _: model)
            ]
        except SourceError:
            return []
        return [record for record in found if record is not None]


def pull(argv: Sequence[str]) -> int:
    """`jurat pull NAME|hf:ORG/REPO[:QUANT]`. Raises ConfigError."""
    parser = _parser("pull", "Fetch a model's files from a model hub.")
    parser.add_argument("model", help="a model's id, ID:QUANT, or hf:ORG/REPO[:QUANT|/FILE.gguf]")
    options = parser.parse_args(argv)
    catalog = Catalog(load_configuration(options.config))
    with _errors():
        done: list[Pulled] = []
        for reference in catalog.references(options.model):
            end = _fetch(reference, catalog.data_dir, quiet=options.json)
            if end is None:
                return INTERRUPTED
            done.append(end)
            if not options.json:
                what = f"fetched {_size(end.fetched)}" if end.fetched else "nothing to fetch"
                _print(f"{end.source}: {what}; {_size(end.bytes)} at {end.path}")
    if options.json:
        _print_json(msgspec.to_builtins(done[-1]) | ({"adapters": done[:-1]} if done[1:] else {}))
    return 0


def rm(argv: Sequence[str]) -> int:
    """`jurat rm NAME|hf:…`. Raises ConfigError."""
    parser = _parser("rm", "Delete a model's downloaded files.")
    parser.add_argument("model", help="as for jurat pull")
    options = parser.parse_args(argv)
    catalog = Catalog(load_configuration(options.config))
    with _errors():
        references = catalog.references(options.model)
        name = None if options.model.startswith("hf:") else catalog.settings(options.model).id
        *beside, record = (
            find_record(each, catalog.data_dir) or cached(each, catalog.data_dir)
            for each in references
        )
        if record is None:
            raise ConfigError(f"Nothing of {references[-1]} is on this machine.")
        users = _users(record, catalog, but=name)
        if users:
            raise ConfigError(
                f"{record.source} is also what {', '.join(users)} of the catalog "
                f"{'uses' if len(users) == 1 else 'use'}; nothing was deleted."
            )
        freed = _remove(record, catalog)
        for adapter in beside:
            if adapter is not None and not _users(adapter, catalog, but=name):
                freed += _remove(adapter, catalog)
    if options.json:
        _print_json({"source": record.source, "revision": record.commit, "freed": freed})
    else:
        _print(f"{record.source}: deleted, {_size(freed)} freed")
    return 0


def models(argv: Sequence[str]) -> int:
    """`jurat models [list|update [NAME…]]`. Raises ConfigError."""
    parser = _parser("models", "The catalog: which models are here, and new versions of them.")
    parser.add_argument("action", nargs="?", choices=["list", "update"], default="list")
    parser.add_argument("names", nargs="*", help="update: these models; all that are here if none")
    options = parser.parse_args(argv)
    catalog = Catalog(load_configuration(options.config))
    if options.action == "update":
        return _update(catalog, options.names, as_json=options.json)
    if options.names:
        parser.error("list takes no names")
    rows = [_row(model, catalog) for model in catalog.models.values()]
    if options.json:
        _print_json({"models": rows})
    else:
        _print_table(rows)
    return 0


def _update(catalog: Catalog, names: Sequence[str], *, as_json: bool) -> int:
    """Fetch the newest commit of each source; old files serve until all new ones are here."""
    with _errors():
        wanted = [catalog.settings(name) for name in names] or [
            model for model in catalog.models.values() if catalog.pulled(model)
        ]
        rows: list[dict[str, Any]] = []
        for name, reference in (
            (model.id, reference)
            for model in wanted
            for reference in references_of(model.id, lambda _, model=model: model)
        ):
            before = cached(reference, catalog.data_dir)
            done = _fetch(reference, catalog.data_dir, quiet=as_json, update=True)
            if done is None:
                return INTERRUPTED
            old = before.commit if before is not None else None
            rows.append({"id": name, "before": old, **msgspec.to_builtins(done)})
            if not as_json:
                news = "is up to date" if old == done.revision else "has changed"
                _print(f"{name} {news}: {done.source} at {done.revision[:SHORT_COMMIT]}")
    if as_json:
        _print_json({"models": rows})
    elif not rows:
        _print("No model of the catalog was pulled yet.")
    return 0


def _users(record: Record, catalog: Catalog, *, but: str | None) -> list[str]:
    """Ids of the catalog's models, all but one, that use any of a record's files."""
    files = {(record.repo, file.commit, file.path) for file in record.files}
    return [
        model.id
        for model in catalog.models.values()
        if model.id != but
        and any(
            (other.repo, file.commit, file.path) in files
            for other in catalog.pulled(model)
            for file in other.files
        )
    ]


def _remove(record: Record, catalog: Catalog) -> int:
    """Delete a record's files; the bytes that are free again."""
    others = [one for one in read_records(catalog.data_dir) if one.source != record.source]
    return remove(record, others, catalog.data_dir)


def _fetch(
    reference: Reference, data_dir: Path, *, quiet: bool, update: bool = False
) -> Pulled | None:
    """Pull with a progress bar; None if the user ended it. Raises DownloadFailed."""
    hub = Hub(hub_token(read_environment(Path.cwd())))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, disable=quiet)
    task: TaskID | None = None
    try:
        with closing(fetch(reference, data_dir, hub, update=update)) as events:
            for event in events:
                if isinstance(event, Pulled):
                    return event
                if task is None:
                    bar.start()  # not before: it would print an empty line above an error
                    task = bar.add_task("", total=event.total)
                text = event.file if event.state == "downloading" else f"{event.state} {event.file}"
                bar.update(task, description=text, completed=event.done)
    except KeyboardInterrupt:
        pass  # said below, under the bar
    finally:
        if task is not None:
            bar.stop()
    console.print("Ended. What has come stays: pull again to go on.")
    return None


def _row(model: ModelSettings, catalog: Catalog) -> dict[str, Any]:
    """What the list says of one model."""
    row: dict[str, Any] = {
        "id": model.id,
        "name": model.name or model.id,
        "kind": model.kind,
        "source": model.source,
        "quant": model.quant or None,
        "here": False,
        "bytes": None,
        "revision": None,
        "path": None,
    }
    try:
        adapters(model, catalog.directory, catalog.data_dir)  # or it cannot be loaded
        if model.source.startswith("hf:"):
            found = catalog.pulled(model)
            if len(found) < len(catalog.references(model.id)):
                return row
            size = sum(file.size for record in found for file in record.files)
            return row | {
                "here": True,
                "bytes": size,
                "revision": found[-1].commit,
                "path": str(found[-1].path()),
            }
        if model.source.partition(":")[0] in ("file", "package"):
            path = locate(model, catalog.directory, catalog.data_dir)
            return row | {"here": True, "bytes": _bytes_of(path), "path": str(path)}
    except ModelError:
        return row
    return row | {"here": True}  # a server's, or a stand-in's: it has no files


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("MODEL", "KIND", "HERE", "SIZE", "REVISION"):
        table.add_column(title, justify="right" if title == "SIZE" else "left", no_wrap=True)
    table.add_column("SOURCE", overflow="fold")
    for row in rows:
        source = row["source"] + (f" {row['quant']}" if row["quant"] else "")
        table.add_row(
            row["id"],
            row["kind"],
            "yes" if row["here"] else "no",
            _size(row["bytes"]) if row["bytes"] is not None else "",
            (row["revision"] or "")[:SHORT_COMMIT],
            source,
        )
    # In a pipe every row is one line, however long.
    width = None if sys.stdout.isatty() else WIDE
    Console(width=width, markup=False, emoji=False).print(table)


def _bytes_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size / 1e3:.2f} KB"


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog=f"jurat {name}", description=description)
    found.add_argument("--config", type=Path, help="the gateway.toml to use")
    found.add_argument("--json", action="store_true", help="print one JSON object")
    return found


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def _errors() -> Generator[None, None, None]:
    """Errors of models as the command line's own."""
    try:
        yield
    except (ModelError, OSError) as error:  # of folders that cannot be read or written
        raise ConfigError(str(error)) from error
