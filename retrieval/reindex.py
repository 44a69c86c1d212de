"""Vectors by the present embedder, and indexes anew from the database, while searches go on.

For whoever runs the machine: over all owners.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal

from msgspec import Struct

from retrieval.embedding import chunk_and_embed, embedded_by
from retrieval.errors import ReindexRuns
from retrieval.indexes import Indexes
from retrieval.renewal import Renewal
from retrieval.settings import RetrievalSettings
from retrieval.store import EmbeddedBy, Store
from retrieval.store_files import StoreFiles
from retrieval.types import Embedder

__all__ = ["Reindexed", "Reindexer", "Reindexing"]


class Reindexing(Struct, frozen=True, kw_only=True, tag="progress", tag_field="event"):
    """How far it is: with files, that are embedded, or with the indexes of stores."""

    step: Literal["embedding", "indexing"]
    done: int
    total: int


class Reindexed(Struct, frozen=True, kw_only=True, tag="done", tag_field="event"):
    """What was done."""

    embedded: int  # files whose vectors another embedder had made
    stores: int  # whose indexes were built
    queued: int  # files that lacked passages, and are ingested again in the background


class Reindexer:
    """One run at a time."""

    def __init__(
        self,
        store: Store,
        store_files: StoreFiles,
        indexes: Indexes,
        embedder: Embedder,
        settings: RetrievalSettings,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called after a change of what waits to be ingested."""
        self._store = store
        self._store_files = store_files
        self._indexes = indexes
        self._embedder = embedder
        self._settings = settings
        self._wake = wake
        self._running = False
        self._embedded = asyncio.Event()
        self._embedded.set()

    @property
    def embedding(self) -> bool:
        """Whether files are being embedded anew now."""
        return not self._embedded.is_set()

    async def embedded(self) -> None:
        """Returns when no files are being embedded anew."""
        await self._embedded.wait()

    async def run(
        self, stores: Sequence[str] | None = None
    ) -> AsyncGenerator[Reindexing | Reindexed, None]:
        """Of these stores, by id or name, the indexes; None for all. First the files of all stores
        that another embedder did are cut and embedded anew, from their stored texts.

        Closed before its end, it breaks off; the next run does the rest. Raises ReindexRuns,
        StoreNotFound, what the embedder raises, and RetrievalError where an index cannot be built.
        """
        if self._running:
            raise ReindexRuns("The documents are being reindexed already.")
        self._running = True
        try:
            store_ids = await asyncio.to_thread(self._store.with_passages, stores)
            queued = await asyncio.to_thread(self._store_files.take_incomplete)
            self._wake()
            embedded = 0
            async with aclosing(self._reembed()) as steps:
                async for step in steps:
                    yield step
                    embedded = step.done
            if embedded:
                await asyncio.to_thread(self._indexes.forget, lambda: None)
                store_ids = await asyncio.to_thread(self._store.with_passages, None)
            async with aclosing(self._rebuild(store_ids)) as steps:
                async for step in steps:
                    yield step
            yield Reindexed(embedded=embedded, stores=len(store_ids), queued=queued)
        finally:
            self._running = False

    async def _reembed(self) -> AsyncGenerator[Reindexing, None]:
        await self._embedder.count_tokens(["a"])  # which loads it: its dimension is known then
        embedder = embedded_by(self._embedder)
        self._embedded.clear()
        try:
            stale = await asyncio.to_thread(self._store.embedded_otherwise, embedder)
            for done, (key, _) in enumerate(stale, start=1):
                await self._reembed_file(key, embedder)
                yield Reindexing(step="embedding", done=done, total=len(stale))
        finally:
            self._embedded.set()

    async def _reembed_file(self, key: int, embedder: EmbeddedBy) -> None:
        document = await asyncio.to_thread(self._store.document, key)
        if document is not None:
            chunking = await asyncio.to_thread(self._store_files.chunking, key)
            passages = await chunk_and_embed(document, self._embedder, self._settings, chunking)
            await asyncio.to_thread(self._store.replace_passages, key, passages, embedder)

    async def _rebuild(self, store_ids: Sequence[str]) -> AsyncGenerator[Reindexing, None]:
        renewal = Renewal(self._indexes, store_ids)
        try:
            for done in range(len(store_ids)):
                yield Reindexing(step="indexing", done=done, total=len(store_ids))
                await asyncio.to_thread(renewal.next)
        finally:
            await asyncio.to_thread(renewal.close)
