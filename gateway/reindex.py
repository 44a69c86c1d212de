"""`jurat reindex`: vectors by the configured embedder, and indexes anew from the database."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.config_files import Configuration, load_configuration
from gateway.embedder import EngineEmbedder, running_embedder
from models.errors import ModelError
from retrieval.doctor import embedders, rebuild
from retrieval.errors import RetrievalError
from retrieval.library import Library

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="jurat reindex",
        description="Embed anew what another embedder than the configured one did, and build the "
        "indexes of the documents anew from the database. Broken off, it goes on where it was. "
        "Stop the gateway first: it holds the data directory.",
    )
    parser.add_argument("--store", metavar="NAME", help="whose index, by id or name (default: all)")
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    try:
        embedded = asyncio.run(_reembed(found))
        count = rebuild(found.data_dir, options.store)
        if options.store is not None and not count:
            raise RetrievalError(f"There is no store '{options.store}' with files in it.")
    except (RetrievalError, ModelError) as error:
        sys.stderr.write(f"jurat reindex: {error}\n")
        return 1
    if embedded:
        sys.stdout.write(f"{found.data_dir}: {embedded} files were embedded anew\n")
    sys.stdout.write(f"{found.data_dir}: the indexes of {count} stores were built\n")
    return 0


async def _reembed(found: Configuration) -> int:
    """How many files had vectors of another embedder. It is loaded only where there are any."""
    name = found.settings.retrieval.embedder
    identity = EngineEmbedder.identity_of(found.models[name]) if name in found.models else ""
    if embedders(found.data_dir) <= {identity}:
        return 0
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("embedding"))
    async with running_embedder(found) as embedder:
        library = Library.open(found.data_dir, embedder, found.settings.retrieval)
        try:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task("")
                return await library.reembed(
                    lambda _, done, total: bar.update(task, completed=done, total=total)
                )
        finally:
            library.close()
