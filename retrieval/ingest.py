"""Files into a store: read, parse, chunk, embed, one transaction each."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from retrieval.blobs import Blobs
from retrieval.embedding import chunk_and_embed, embedded_by
from retrieval.errors import FileRejected, RetrievalError, StoreNotFound
from retrieval.files import Files
from retrieval.indexes import Indexes
from retrieval.parse import Document, parse
from retrieval.settings import RetrievalSettings
from retrieval.sources import Given, Source, expand, read
from retrieval.store import Passage, Written
from retrieval.store_files import StoreFiles, Waiting
from retrieval.types import Chunking, Embedder, FileObject, IngestReport

__all__ = ["Ingester", "Progress"]

Progress = Callable[[str, int, int], None]  # (file name, files done with it, files in all)

# While the embedder works on one file, the next are parsed and cut.
_FILES_AT_ONCE = 4
PURPOSE = "assistants"  # of files that were ingested by name


class _Ready(NamedTuple):
    """A file that only has to be written."""

    document: Document
    passages: list[Passage]


class Ingester:
    """Ingests run side by side; each file becomes visible whole, when it is done."""

    def __init__(
        self,
        files: Files,
        store_files: StoreFiles,
        blobs: Blobs,
        indexes: Indexes,
        embedder: Embedder,
        settings: RetrievalSettings,
    ) -> None:
        self._files = files
        self._store_files = store_files
        self._blobs = blobs
        self._indexes = indexes
        self._embedder = embedder
        self._settings = settings

    async def take(self, waiting: Waiting) -> None:
        """Ingests a file that waits in a store, or says there why it cannot be.

        Raises what the embedder raises, and RetrievalError where it is not the file's fault.
        """
        embedder = embedded_by(self._embedder)  # before any work, as the model may be away
        try:
            data = await asyncio.to_thread(self._content, waiting)
            ready = await self._prepare(data, waiting.filename, waiting.chunking)
        except FileRejected as rejected:
            code = "unsupported_file" if rejected.unsupported else "invalid_file"
            message = str(rejected)
            await asyncio.to_thread(
                self._write,
                waiting.store_id,
                lambda: self._store_files.fail(waiting, code, message),
            )
            return
        await asyncio.to_thread(
            self._write,
            waiting.store_id,
            lambda: self._store_files.complete(waiting, ready.document, ready.passages, embedder),
        )

    async def give_up(self, waiting: Waiting, reason: str) -> None:
        """The file cannot be had, and it is not its fault."""
        await asyncio.to_thread(
            self._write,
            waiting.store_id,
            lambda: self._store_files.fail(waiting, "server_error", reason),
        )

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
        await asyncio.to_thread(self._store_files.check_writable, owner, store_id)
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
        if await asyncio.to_thread(self._store_files.holds, store_id, source.name, sha256):
            return False
        ready = await self._prepare(data, source.name, None)

        def store() -> None:
            with self._blobs.incoming() as content:
                content.write(data)
                content.sync()

                def create() -> FileObject:
                    return self._files.create(owner, content, source.name, PURPOSE)

                embedder = embedded_by(self._embedder)
                self._write(
                    store_id,
                    lambda: self._store_files.put(
                        owner, store_id, create, ready.document, ready.passages, embedder
                    ),
                )

        await asyncio.to_thread(store)
        return True

    def _content(self, waiting: Waiting) -> bytes:
        path = self._blobs.path(waiting.sha256)
        if not path.is_file():
            raise RetrievalError(f"{waiting.filename}: its content is not on disk")
        return read(Source(name=waiting.filename, content=path), self._settings.max_file_bytes)

    async def _prepare(self, data: bytes, filename: str, chunking: Chunking | None) -> _Ready:
        document = await parse(data, filename)
        passages = await chunk_and_embed(document, self._embedder, self._settings, chunking)
        if not passages:
            raise FileRejected(f"{filename}: the file holds no text")
        return _Ready(document, passages)

    def _write(self, store_id: str, commit: Callable[[], Written | None]) -> None:
        def write() -> Written:
            return commit() or Written([], [])

        self._indexes.write(store_id, write)
