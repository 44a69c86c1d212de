"""Files into a store: read, parse, chunk, embed, one transaction each."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from retrieval.embedding import chunk_and_embed, embedded_by
from retrieval.errors import RetrievalError, StoreNotFound
from retrieval.indexes import Indexes
from retrieval.parse import parse
from retrieval.settings import RetrievalSettings
from retrieval.sources import Given, Source, expand, read
from retrieval.store import NewFile, Store
from retrieval.types import Embedder, IngestReport

__all__ = ["Ingester", "Progress"]

Progress = Callable[[str, int, int], None]  # (file name, files done with it, files in all)

# While the embedder works on one file, the next are parsed and cut.
_FILES_AT_ONCE = 4


class Ingester:
    """Ingests run side by side; each file becomes visible whole, when it is done."""

    def __init__(
        self, store: Store, indexes: Indexes, embedder: Embedder, settings: RetrievalSettings
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._embedder = embedder
        self._settings = settings

    async def run(
        self,
        owner: str,
        store_id: str,
        given: Sequence[Given],
        progress: Progress | None = None,
    ) -> IngestReport:
        """Ingests what is new or changed; a file that is refused is reported and passed over.

        Raises StoreNotFound, and what the embedder raises: then the files before it are stored,
        and calling again goes on from there.
        """
        await asyncio.to_thread(self._store.owned, owner, store_id)
        sources = await asyncio.to_thread(expand, given)
        outcomes: list[bool | str] = [False] * len(sources)
        done = 0
        gate = asyncio.Semaphore(_FILES_AT_ONCE)

        async def take(place: int, source: Source) -> None:
            nonlocal done
            async with gate:
                try:
                    outcomes[place] = await self._ingest(owner, store_id, source)
                except StoreNotFound:
                    raise  # deleted meanwhile: no file can be stored
                except RetrievalError as error:
                    outcomes[place] = str(error)
                done += 1
                if progress is not None:
                    progress(source.name, done, len(sources))

        try:
            async with asyncio.TaskGroup() as group:
                for place, source in enumerate(sources):
                    group.create_task(take(place, source))
        except BaseExceptionGroup as errors:
            # The first is what went wrong; callers map it by its type.
            raise errors.exceptions[0] from None
        results = list(zip(sources, outcomes, strict=True))
        return IngestReport(
            added=tuple(source.name for source, outcome in results if outcome is True),
            unchanged=tuple(source.name for source, outcome in results if outcome is False),
            failed=tuple((source.name, why) for source, why in results if isinstance(why, str)),
        )

    async def _ingest(self, owner: str, store_id: str, source: Source) -> bool:
        """Whether the file was new or changed. Raises FileRejected."""
        data = await asyncio.to_thread(read, source, self._settings.max_file_bytes)
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if await asyncio.to_thread(self._store.holds, owner, store_id, source.name, sha256):
            return False
        document = await parse(data, source.name)
        chunks, vectors = await chunk_and_embed(document, self._embedder, self._settings)
        file = NewFile(
            filename=source.name,
            sha256=sha256,
            bytes=len(data),
            document=document,
            chunks=zip(chunks, vectors, strict=True),
            embedder=embedded_by(self._embedder),
        )

        def commit() -> None:
            self._indexes.write(
                store_id, lambda: self._store.put_file(owner, store_id, file), vectors
            )

        await asyncio.to_thread(commit)
        return True
