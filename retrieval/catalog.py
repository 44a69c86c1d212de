"""Files, uploads and vector stores as their owners handle them, in step with the indexes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from retrieval.blobs import Blobs, Incoming
from retrieval.errors import InvalidRequest, NotFound
from retrieval.files import Files
from retrieval.filters import Attribute
from retrieval.indexes import Indexes
from retrieval.store import Store, Written
from retrieval.store_files import Attached, StoreFiles
from retrieval.types import (
    BatchRecord,
    Cursor,
    FileObject,
    FileRecord,
    FileStatus,
    Page,
    StoreRecord,
    UploadPart,
    UploadRecord,
)
from retrieval.uploads import Uploads
from retrieval.vector_stores import StoreChange, VectorStores

__all__ = ["Catalog", "Content"]

T = TypeVar("T")


class Content(NamedTuple):
    """A file with where its content is on disk."""

    file: FileObject
    path: Path


class Catalog:
    """Every call names its owner, and raises NotFound the same for what is absent or another's.

    Methods may be awaited side by side; none blocks the event loop. What has expired is removed
    before anything is looked at.
    """

    def __init__(
        self,
        blobs: Blobs,
        files: Files,
        uploads: Uploads,
        stores: VectorStores,
        store_files: StoreFiles,
        store: Store,
        indexes: Indexes,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called after every change of what waits to be ingested."""
        self._blobs = blobs
        self._files = files
        self._uploads = uploads
        self._stores = stores
        self._store_files = store_files
        self._store = store
        self._indexes = indexes
        self._wake = wake

    # Files

    def incoming(self) -> Incoming:
        """A temporary file for content that arrives; blocks for a moment."""
        return self._blobs.incoming()

    async def create_file(
        self,
        owner: str,
        content: Incoming,
        filename: str,
        purpose: str,
        expires_s: int | None = None,
    ) -> FileObject:
        """Keeps what arrived, for good: it is on disk when this returns."""

        def create() -> FileObject:
            content.sync()
            return self._files.create(owner, content, filename, purpose, expires_s)

        return await self._run(create)

    async def file(self, owner: str, file_id: str) -> FileObject:
        return await self._run(lambda: self._files.read(owner, file_id))

    async def file_page(
        self, owner: str, cursor: Cursor, purpose: str | None = None
    ) -> Page[FileObject]:
        return await self._run(lambda: self._files.page(owner, cursor, purpose))

    async def file_content(self, owner: str, file_id: str) -> Content:
        """Raises NotFound also for a file from before contents were kept."""

        def find() -> Content:
            file = self._files.read(owner, file_id)
            path = self._blobs.path(file.sha256)
            if not path.exists():
                raise NotFound("file", file_id)
            return Content(file, path)

        return await self._run(find)

    async def delete_file(self, owner: str, file_id: str) -> None:
        """Removes the file from its owner's files and from all stores."""
        await self._run(lambda: self._delete_file(owner, file_id))
        self._wake()

    # Uploads

    async def create_upload(
        self,
        owner: str,
        filename: str,
        purpose: str,
        size: int,
        mime_type: str,
        file_expires_s: int | None = None,
    ) -> UploadRecord:
        return await self._run(
            lambda: self._uploads.create(owner, filename, purpose, size, mime_type, file_expires_s)
        )

    async def upload_room(self, owner: str, upload_id: str) -> int:
        """How many bytes are still to come."""
        return await self._run(lambda: self._uploads.room(owner, upload_id))

    async def add_part(self, owner: str, upload_id: str, content: Incoming) -> UploadPart:
        """The part is on disk when this returns."""

        def add() -> UploadPart:
            content.sync()
            return self._uploads.add_part(owner, upload_id, content)

        return await self._run(add)

    async def complete_upload(
        self, owner: str, upload_id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> UploadRecord:
        """Makes a file of the parts, in that order. Raises InvalidRequest where they do not fit."""

        def complete() -> UploadRecord:
            with self._blobs.incoming() as content:
                self._uploads.assemble(owner, upload_id, part_ids, content)
                if md5 is not None and md5.lower() != content.md5:
                    raise InvalidRequest("md5", f"the parts' checksum is {content.md5}")
                content.sync()
                return self._uploads.complete(owner, upload_id, content)

        return await self._run(complete)

    async def cancel_upload(self, owner: str, upload_id: str) -> UploadRecord:
        return await self._run(lambda: self._uploads.cancel(owner, upload_id))

    # Vector stores

    async def create_store(
        self, owner: str, change: StoreChange, given: Sequence[Attached] = ()
    ) -> StoreRecord:
        """A new store with these files waiting in it, or nothing."""

        store = await self._run(lambda: self._store_files.create_store(owner, change, given))
        self._wake()
        return store

    async def ensure_store(
        self, owner: str, name: str, readers: Sequence[str] | None = None
    ) -> StoreRecord:
        """The owner's store of that name, made if missing. Raises InvalidRequest."""
        return await self._run(lambda: self._stores.ensure(owner, name, readers))

    async def all_stores(self, owner: str) -> list[StoreRecord]:
        """What the owner may search, own stores first."""
        return await self._run(lambda: self._stores.all(owner))

    async def update_store(self, owner: str, store_id: str, change: StoreChange) -> StoreRecord:
        return await self._run(lambda: self._stores.update(owner, store_id, change))

    async def store(self, owner: str, store_id: str) -> StoreRecord:
        return await self._run(lambda: self._stores.read(owner, store_id))

    async def store_page(self, owner: str, cursor: Cursor) -> Page[StoreRecord]:
        return await self._run(lambda: self._stores.page(owner, cursor))

    async def delete_store(self, owner: str, store_id: str) -> None:
        await self._run(
            lambda: self._indexes.forget(lambda: self._stores.delete(owner, store_id), store_id)
        )
        self._wake()

    async def use_stores(self, owner: str, stores: Sequence[str]) -> list[str]:
        """The ids of stores to search, by id or name; each counts as active now."""

        def use() -> list[str]:
            found = [self._store.resolve(owner, name) for name in stores]
            self._stores.touch(found)
            return found

        return await self._run(use)

    # Files in stores

    async def attach(self, owner: str, store_id: str, given: Attached) -> FileRecord:
        """The file waits to be ingested."""
        record = await self._run(lambda: self._attach(owner, store_id, given))
        self._wake()
        return record

    async def store_file(self, owner: str, store_id: str, file_id: str) -> FileRecord:
        return await self._run(lambda: self._store_files.read(owner, store_id, file_id))

    async def store_file_page(
        self,
        owner: str,
        store_id: str,
        cursor: Cursor,
        status: FileStatus | None = None,
        batch_id: str | None = None,
    ) -> Page[FileRecord]:
        return await self._run(
            lambda: self._store_files.page(owner, store_id, cursor, status, batch_id)
        )

    async def all_store_files(self, owner: str, store_id: str) -> list[FileRecord]:
        """By name."""
        return await self._run(lambda: self._store_files.all(owner, store_id))

    async def store_file_text(self, owner: str, store_id: str, file_id: str) -> str:
        """What the file was parsed to; empty before it is completed."""

        def find() -> str:
            self._store_files.read(owner, store_id, file_id)
            return self._store.text(owner, store_id, file_id) or ""

        return await self._run(find)

    async def set_attributes(
        self, owner: str, store_id: str, file_id: str, attributes: Mapping[str, Attribute]
    ) -> FileRecord:
        return await self._run(
            lambda: self._store_files.set_attributes(owner, store_id, file_id, attributes)
        )

    async def detach(self, owner: str, store_id: str, file_id: str) -> None:
        """Takes a file out of a store; it stays one of its owner's files."""
        await self._run(lambda: self._detach(owner, store_id, file_id))
        self._wake()

    async def create_batch(
        self, owner: str, store_id: str, given: Sequence[Attached]
    ) -> BatchRecord:
        """The files wait to be ingested, all or none."""

        def create() -> BatchRecord:
            record = self._store_files.create_batch(owner, store_id, given)
            self._stores.touch([store_id])
            return record

        batch = await self._run(create)
        self._wake()
        return batch

    async def batch(self, owner: str, store_id: str, batch_id: str) -> BatchRecord:
        return await self._run(lambda: self._store_files.batch(owner, store_id, batch_id))

    async def cancel_batch(self, owner: str, store_id: str, batch_id: str) -> BatchRecord:
        """Ends the wait of its files that are not completed yet."""
        records: list[BatchRecord] = []

        def commit() -> Written:
            record, written = self._store_files.cancel_batch(owner, store_id, batch_id)
            records.append(record)
            return written

        await self._run(lambda: self._indexes.write(store_id, commit))
        self._wake()
        return records[0]

    # Below, in a thread

    async def _run(self, call: Callable[[], T]) -> T:
        def fresh() -> T:
            self._expire()
            return call()

        return await asyncio.to_thread(fresh)

    def _expire(self) -> None:
        for store_id in self._stores.due():
            self._indexes.forget(lambda store_id=store_id: self._stores.expire(store_id), store_id)
        for owner, file_id in self._files.due():
            with suppress(NotFound):  # by another thread
                self._delete_file(owner, file_id)
        self._uploads.expire()
        self._stores.forget_expired()

    def _attach(self, owner: str, store_id: str, given: Attached) -> FileRecord:
        self._store_files.attach(owner, store_id, [given])
        self._stores.touch([store_id])
        return self._store_files.read(owner, store_id, given.file_id)

    def _detach(self, owner: str, store_id: str, file_id: str) -> None:
        self._indexes.write(store_id, lambda: self._store_files.remove(owner, store_id, file_id))

    def _delete_file(self, owner: str, file_id: str) -> None:
        self._files.read(owner, file_id)
        for store_id in self._store_files.stores_of(file_id):
            self._detach(owner, store_id, file_id)
        self._files.delete(owner, file_id)
