"""`jurat bench-ingest`: how fast documents become searchable, beside the embedder alone.

The configured embedder is loaded, with nothing else. Each round puts all files into a new store, as
the gateway does, and then has the embedder make vectors of the very texts it was given meanwhile:
the ratio of the two says what reading, cutting, storing and indexing add.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.config_files import Configuration, load_configuration
from gateway.embedder import BATCH, EngineEmbedder, running_embedder
from gateway.toml import ConfigError
from retrieval.bench import show
from retrieval.library import Library
from retrieval.sources import Source, expand
from retrieval.store_files import Attached

__all__ = ["main"]

OWNER = "bench"
UPLOADS = 8  # side by side, as `jurat ingest` does
REQUESTS = 4  # of the embedder alone, side by side
PAGES = 20
PAGE_WORDS = 300


def main(argv: Sequence[str]) -> int:
    """Print the figures as a table, or with --json as one object. Raises ConfigError."""
    parser = argparse.ArgumentParser(prog="jurat bench-ingest", description=__doc__)
    parser.add_argument("path", nargs="+", type=Path, help="files and folders to ingest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    figures = asyncio.run(_measure(found, expand(options.path), max(1, options.rounds)))
    show(figures, as_json=options.json)
    return 0


class _Recording:
    """An embedder that keeps the texts of documents it was given."""

    def __init__(self, embedder: EngineEmbedder) -> None:
        self._embedder = embedder
        self.identity, self.dimension = embedder.identity, embedder.dimension
        self.max_tokens = embedder.max_tokens
        self.texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"]
    ) -> NDArray[np.float32]:
        if kind == "document":
            self.texts += texts
        return await self._embedder.embed(texts, kind)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._embedder.count_tokens(texts)


async def _measure(
    found: Configuration, sources: Sequence[Source], rounds: int
) -> Mapping[str, float]:
    async with running_embedder(found) as embedder:
        return await _rounds(found, _Recording(embedder), sources, rounds)


async def _rounds(
    found: Configuration, embedder: _Recording, sources: Sequence[Source], rounds: int
) -> Mapping[str, float]:
    texts: list[str] = []
    ingests: list[float] = []
    alone: list[float] = []
    pages: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="jurat-bench-") as folder:
            library = Library.open(Path(folder), embedder, found.settings.retrieval)
            library.start()
            try:
                embedder.texts.clear()
                ingests.append(await _ingest(library, sources))
                texts = list(embedder.texts)
                alone.append(await _embed(embedder, texts))
                pages.append(await _searchable(library, texts))
            finally:
                await library.stop()
                library.close()
    ratios = [raw / whole for raw, whole in zip(alone, ingests, strict=True)]
    return {
        "files": len(sources),
        "texts": len(texts),
        "ingest texts/s": len(texts) / statistics.median(ingests),
        "embedder alone texts/s": len(texts) / statistics.median(alone),
        "ratio": statistics.median(ratios),
        "lowest ratio": min(ratios),
        "highest ratio": max(ratios),
        f"{PAGES} pages searchable s": statistics.median(pages),
    }


async def _ingest(library: Library, sources: Sequence[Source]) -> float:
    """Seconds from the first upload until all can be found."""
    began = time.perf_counter()
    store = await library.ensure_store("bench", OWNER)
    gate = asyncio.Semaphore(UPLOADS)

    async def take(source: Source) -> None:
        async with gate:
            content = source.content
            text = content if isinstance(content, bytes) else content.read_bytes()
            await _upload(library, store.id, source.name, text)

    await asyncio.gather(*map(take, sources))
    await library.settled()
    counts = (await library.catalog.store(OWNER, store.id)).counts
    if counts.failed:
        raise ConfigError(f"{counts.failed} files cannot be read.")
    await library.search("is it there?", owner=OWNER, stores=[store.id])
    return time.perf_counter() - began


async def _embed(embedder: _Recording, texts: Sequence[str]) -> float:
    """Seconds for the vectors of `texts`, with nothing beside it."""
    began = time.perf_counter()
    batches = iter([texts[first : first + BATCH] for first in range(0, len(texts), BATCH)])

    async def ask() -> None:
        for batch in batches:
            await embedder.embed(batch, "document")

    await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    return time.perf_counter() - began


async def _searchable(library: Library, texts: Sequence[str]) -> float:
    """Seconds from a file of so many pages until a search finds it."""
    words = cycle(" ".join(texts).split() or ["word"])
    text = "\f".join(" ".join(islice(words, PAGE_WORDS)) for _ in range(PAGES))
    store = await library.ensure_store("pages", OWNER)
    began = time.perf_counter()
    await _upload(library, store.id, "pages.txt", text.encode())
    await library.settled()
    if not await library.search("is it there?", owner=OWNER, stores=[store.id]):
        raise AssertionError("what was completed is not found")
    return time.perf_counter() - began


async def _upload(library: Library, store_id: str, name: str, data: bytes) -> None:
    with await asyncio.to_thread(library.catalog.incoming) as content:
        content.write(data)
        file = await library.catalog.create_file(OWNER, content, name, "assistants")
    await library.catalog.attach(OWNER, store_id, Attached(file_id=file.id))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
