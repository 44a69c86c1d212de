"""`jurat reindex`: vectors by the configured embedder, and indexes anew from the database."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.config_files import Configuration, load_configuration
from gateway.embedder import EngineEmbedder, running_embedder
from gateway.running import reindex_there
from models.errors import ModelError
from retrieval.doctor import embedders, rebuild
from retrieval.errors import RetrievalError, StoreLocked
from retrieval.library import Library
from retrieval.reindex import Reindexed, Reindexing

__all__ = ["main"]

Show = Callable[[Reindexing], object]


def main(argv: Sequence[str]) -> int:
    """Run the command. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="jurat reindex",
        description="Embed anew what another embedder than the configured one did, and build the "
        "indexes of the documents anew from the database. Broken off, it goes on where it was. "
        "Where a gateway has the data directory open, it does so, and searches go on.",
    )
    parser.add_argument("--store", metavar="NAME", help="whose index, by id or name (default: all)")
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    stores = None if options.store is None else [options.store]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("reindexing", total=None)

            def show(step: Reindexing) -> None:
                bar.update(task, description=step.step, completed=step.done, total=step.total)

            done = _reindex(found, stores, show)
    except (RetrievalError, ModelError) as error:
        sys.stderr.write(f"jurat reindex: {error}\n")
        return 1
    if done.embedded:
        sys.stdout.write(f"{found.data_dir}: files embedded anew: {done.embedded}\n")
    if done.queued:
        sys.stdout.write(f"{found.data_dir}: files ingested again: {done.queued}\n")
    sys.stdout.write(f"{found.data_dir}: stores whose indexes were built: {done.stores}\n")
    return 0


def _reindex(found: Configuration, stores: Sequence[str] | None, show: Show) -> Reindexed:
    try:
        name = found.settings.retrieval.embedder
        identity = EngineEmbedder.identity_of(found.models[name]) if name in found.models else ""
        if embedders(found.data_dir) <= {identity}:  # the embedder need not be loaded
            count = rebuild(found.data_dir, stores)
            return Reindexed(embedded=0, stores=count, queued=0)
        return asyncio.run(_reindex_here(found, stores, show))
    except StoreLocked as locked:
        for step in reindex_there(found, locked, stores):
            if isinstance(step, Reindexed):
                return step
            show(step)
    raise RetrievalError("The gateway broke off; run `jurat reindex` again to go on.")


async def _reindex_here(
    found: Configuration, stores: Sequence[str] | None, show: Show
) -> Reindexed:
    async with running_embedder(found) as embedder:
        library = Library.open(found.data_dir, embedder, found.settings.retrieval)
        try:
            async with aclosing(library.reindex(stores)) as steps:
                async for step in steps:
                    if isinstance(step, Reindexed):
                        return step
                    show(step)
        finally:
            library.close()
    raise AssertionError("a run has an end")
