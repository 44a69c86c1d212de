"""A data directory of documents: what the rest of the program uses of this package."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Self

from retrieval.blobs import Blobs
from retrieval.catalog import Catalog
from retrieval.database import Database
from retrieval.embedding import embed_texts, embedded_by
from retrieval.errors import EmbedderMismatch
from retrieval.files import Files
from retrieval.filters import Filter
from retrieval.fuse import Weights
from retrieval.index_source import IndexSource
from retrieval.indexes import Indexes
from retrieval.ingest import Ingester, Progress
from retrieval.lock import DirectoryLock
from retrieval.memo import VectorMemo
from retrieval.parse import prepare
from retrieval.queue import IngestQueue
from retrieval.reindex import Reindexed, Reindexer, Reindexing
from retrieval.search import Asked, Rerank, search
from retrieval.settings import RetrievalSettings
from retrieval.sources import Given
from retrieval.store import EmbeddedBy, Store
from retrieval.store_files import StoreFiles, Waiting
from retrieval.types import Embedder, FileRecord, Hit, IngestReport, StoreRecord
from retrieval.uploads import Uploads
from retrieval.vector_stores import VectorStores

__all__ = ["CONTENTS", "DATABASE", "INDEXES", "Library"]

DATABASE = "retrieval.sqlite3"
CONTENTS = "files"
INDEXES = "indexes"


class Library:
    """Stores, their files, and search in them. Made by `open`; every call names its owner.

    Methods may be awaited side by side; none blocks the event loop. `catalog` has files, uploads
    and vector stores as objects.
    """

    def __init__(
        self,
        path: Path,
        lock: DirectoryLock,
        embedder: Embedder,
        settings: RetrievalSettings,
        away: tuple[type[Exception], ...],
        clock: Callable[[], float],
        rerank: Rerank | None,
    ) -> None:
        self._database = Database(path / DATABASE, clock)
        self._lock = lock
        self._rerank = rerank
        self._embedder = embedder
        self._memo = VectorMemo(embedder)
        self._settings = settings
        self._store = Store(self._database)
        source = IndexSource(path / DATABASE)
        self._indexes = Indexes(path / INDEXES, source, lambda: embedded_by(embedder))
        blobs = Blobs(path / CONTENTS)
        files = Files(self._database, blobs)
        files.sweep()
        self._stores = VectorStores(self._database)
        store_files = StoreFiles(self._database, self._stores)
        self._ingester = Ingester(files, store_files, blobs, self._indexes, embedder, settings)

        async def take(waiting: Waiting) -> None:
            await self._reindexer.embedded()  # a file that comes meanwhile waits
            await self._check_embedder()
            await self._ingester.take(waiting)

        self._queue = IngestQueue(store_files, take, self._ingester.give_up, away)
        self._reindexer = Reindexer(
            self._store, store_files, self._indexes, embedder, settings, self._queue.wake
        )
        self.catalog = Catalog(
            blobs,
            files,
            Uploads(self._database, blobs, files),
            self._stores,
            store_files,
            self._store,
            self._indexes,
            self._queue.wake,
        )
        self._checked: EmbeddedBy | None = None  # all vectors are known to be of this embedder

    @classmethod
    def open(
        cls,
        path: Path,
        embedder: Embedder,
        settings: RetrievalSettings | None = None,
        *,
        away: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.time,
        rerank: Rerank | None = None,
    ) -> Self:
        """Opens the directory `path`, made if missing, for this process alone.

        The embedder is not asked for anything yet: it may still be loading. `away` are the errors
        by which it says that it will be back. `clock` gives Unix seconds. `rerank` has the last
        word on the order of what searches find. Raises StoreLocked,
        RetrievalError for a database that cannot be read, OSError for the directory.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock(path)
        try:
            return cls(path, lock, embedder, settings or RetrievalSettings(), away, clock, rerank)
        except BaseException:
            lock.release()
            raise

    def start(self) -> None:
        """Begin to ingest in the background what `catalog` was given; needs an event loop."""
        prepare()
        self._queue.start()

    async def stop(self) -> None:
        """Break that off; the next start goes on."""
        await self._queue.stop()

    async def settled(self) -> None:
        """Returns when all that `catalog` was given is ingested, or refused. Needs `start`."""
        await self._queue.settled()

    def close(self) -> None:
        """Waits for the database call in progress. May be called twice."""
        self._indexes.close()
        self._database.close()
        self._lock.release()

    async def ensure_store(
        self, name: str, owner: str, readers: Sequence[str] | None = None
    ) -> StoreRecord:
        """The owner's store of that name, made if missing.

        `readers` are owners who may search it besides, "*" everyone; None leaves them as they
        are. Raises InvalidRequest for "name" and "owner".
        """
        return await self.catalog.ensure_store(owner, name, readers)

    async def stores(self, owner: str) -> list[StoreRecord]:
        """The stores that `owner` may search, own ones first."""
        return await self.catalog.all_stores(owner)

    async def files(self, store_id: str, owner: str) -> list[FileRecord]:
        """The files of a store that `owner` may search, by name. Raises StoreNotFound."""
        return await self.catalog.all_store_files(owner, store_id)

    async def delete_store(self, store_id: str, owner: str) -> None:
        """Raises StoreNotFound, also for a store that `owner` may only search."""
        await self.catalog.delete_store(owner, store_id)

    async def delete_file(self, store_id: str, file_id: str, owner: str) -> None:
        """Takes a file out of a store. Raises StoreNotFound, NotFound."""
        await self.catalog.detach(owner, store_id, file_id)

    async def ingest(
        self,
        store_id: str,
        owner: str,
        sources: Sequence[Given],
        progress: Progress | None = None,
    ) -> IngestReport:
        """Puts files, folders and (name, bytes) pairs into the owner's own store.

        A file whose name and content are there already is skipped; one with new content replaces
        that of its name. Raises StoreNotFound, EmbedderMismatch, and what the embedder raises;
        files that cannot be taken are in the report.
        """
        await self._check_embedder()
        return await self._ingester.run(owner, store_id, sources, progress)

    async def seed(
        self, name: str, sources: Sequence[Given], owner: str, readers: Sequence[str] = ()
    ) -> IngestReport:
        """Ingests `sources` into the owner's store `name` once in the life of the directory.

        Broken off, it goes on where it was at the next call; with a file that failed, it is tried
        again. Once done, what is deleted later stays deleted. Raises as `ingest`.
        """
        mark = f"seeded:{owner}:{name}"
        if await asyncio.to_thread(self._store.marked, mark):
            if any(s.owner == owner and s.name == name for s in await self.stores(owner)):
                await self.ensure_store(name, owner, readers)
            return IngestReport()
        store = await self.ensure_store(name, owner, readers)
        report = await self.ingest(store.id, owner, sources)
        if not report.failed:
            await asyncio.to_thread(self._store.mark, mark)
        return report

    async def search(
        self,
        query: str | Sequence[str],
        *,
        owner: str,
        stores: Sequence[str],
        limit: int = 10,
        score_floor: float | None = None,
        filters: Filter | None = None,
        hybrid: Weights | None = None,
        diversity: float = 0.0,
        neighbours: int = 0,
        rerank: Rerank | None = None,
    ) -> list[Hit]:
        """The best passages of `stores` (ids or names), by falling relevance.

        Relevance joins a passage's likeness to the query (`score`, the cosine similarity) and the
        words it has of it; `hybrid` weighs the two. None scores under `score_floor`. Of several
        queries, a passage's are its best. Passages that say the same are returned once. `filters`
        are on the attributes of files. `diversity`, 0..1, prefers passages unlike those before
        them; `neighbours` widens each by so many chunks on both sides; `rerank` has the last word
        on the order. Raises StoreNotFound (said the same of a store that is another's),
        InvalidRequest that names the argument, EmbedderMismatch, and what the embedder raises.
        """
        asked = Asked(
            limit=limit,
            score_floor=score_floor,
            filters=filters,
            weights=hybrid or Weights(),
            diversity=diversity,
            neighbours=neighbours,
            rerank=rerank or self._rerank,
        )
        await self._check_embedder()
        store_ids = await self.catalog.use_stores(owner, stores)
        return await search(
            self._store,
            self._indexes,
            self._embedder,
            owner,
            store_ids,
            query,
            asked,
        )

    async def overview(
        self,
        choose: Callable[[Sequence[str]], int | None],
        *,
        owner: str,
        stores: Sequence[str],
        limit: int = 10,
        file_id: str | None = None,
    ) -> list[Hit]:
        """How one document begins, and how each of its parts does, in order; up to `limit` hits.

        The document is the one that `choose` picks by its place among file names, or `file_id`
        where it picks none; there are no hits without either. Raises StoreNotFound.
        """
        store_ids = await self.catalog.use_stores(owner, stores)

        def find() -> list[Hit]:
            documents = self._store.documents(owner, store_ids)
            place = choose([name for _, _, name in documents])
            if place is None:
                ids = [identity for _, identity, _ in documents]
                place = ids.index(file_id) if file_id in ids else None
            if place is None:
                return []
            store_id, identity, _ = documents[place]
            openings = self._store.openings(owner, store_id, identity)[:limit]
            found = self._store.hits(owner, dict.fromkeys(openings, 1.0))
            return sorted(found, key=lambda hit: hit.chunk_id)

        return await asyncio.to_thread(find)

    async def likeness(self, query: str, texts: Sequence[str], *, owner: str) -> list[float]:
        """Each text's cosine similarity to the query. Raises what the embedder raises.

        Texts are of documents: those asked about lately are not embedded again.
        """
        if not texts:
            return []
        asked, given = await asyncio.gather(
            embed_texts(self._embedder, [query], "query"),
            self._memo.embed(texts, owner),
        )
        return (given @ asked[0]).tolist()

    def reindex(
        self, stores: Sequence[str] | None = None
    ) -> AsyncGenerator[Reindexing | Reindexed, None]:
        """See `Reindexer.run`. Until all is embedded by the present embedder, `search` and `ingest`
        raise EmbedderMismatch; files that come meanwhile wait. Close what is returned."""
        return self._reindexer.run(stores)

    async def _check_embedder(self) -> None:
        embedder = embedded_by(self._embedder)
        if embedder == self._checked:
            return  # only this process writes here, and only with this embedder
        stale = await asyncio.to_thread(self._store.embedded_otherwise, embedder)
        if stale:
            old = stale[0][1]
            one = len(stale) == 1
            files = "1 file was" if one else f"{len(stale)} files were"
            raise EmbedderMismatch(
                f"{files} embedded by {old.identity} ({old.dimension} dimensions), "
                f"but the embedder is now {embedder.identity} ({embedder.dimension} dimensions). "
                + (
                    f"{'It is' if one else 'They are'} being embedded anew."
                    if self._reindexer.embedding
                    else "Run `jurat reindex`, or configure the former embedder."
                )
            )
        self._checked = embedder
