"""The tables of a data directory without a library around them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.blobs import Blobs
from retrieval.chunk import Chunk
from retrieval.database import Database
from retrieval.files import Files
from retrieval.index_source import IndexSource
from retrieval.parse import Document
from retrieval.store import EmbeddedBy, Passage, Store, Written
from retrieval.store_files import StoreFiles
from retrieval.types import FileObject
from retrieval.uploads import Uploads
from retrieval.vector_stores import VectorStores

EMBEDDER = EmbeddedBy("bag@1", 4)
DOCUMENT = Document(text="x" * 99, markup="markdown", page_starts=(0, 7))


class Clock:
    """Unix seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Collection(NamedTuple):
    clock: Clock
    database: Database
    blobs: Blobs
    files: Files
    uploads: Uploads
    stores: VectorStores
    store_files: StoreFiles
    store: Store
    source: IndexSource

    def vectors(self, store_id: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All of a store: chunk ids, one for each part, and their vectors."""
        return next(self.source.vectors(store_id, 0, self.source.newest(), EMBEDDER.dimension))

    def upload(self, owner: str, name: str, content: bytes = b"content") -> FileObject:
        with self.blobs.incoming() as incoming:
            incoming.write(content)
            return self.files.create(owner, incoming, name, "assistants")

    def put(
        self, owner: str, store_id: str, passages: Iterator[Passage], name: str = "a.md"
    ) -> Written:
        return self.store_files.put(
            owner,
            store_id,
            lambda: self.upload(owner, name),
            DOCUMENT,
            list(passages),
            EMBEDDER,
        )


def passages(count: int, parts: int = 1, fail_at: int = -1) -> Iterator[Passage]:
    for number in range(count):
        if number == fail_at:
            raise OSError("the power is gone")
        text = f"text {number}"
        chunk = Chunk(
            start=number, end=number + 1, page=number, heading="H", text=text, embed_texts=(text,)
        )
        yield chunk, np.full((parts, 4), number, np.float32)


@contextmanager
def opened(folder: Path) -> Iterator[Collection]:
    clock = Clock()
    folder.mkdir(exist_ok=True)
    database = Database(folder / "db", clock)
    blobs = Blobs(folder / "files")
    files = Files(database, blobs)
    files.sweep()
    stores = VectorStores(database)
    source = IndexSource(folder / "db")
    yield Collection(
        clock,
        database,
        blobs,
        files,
        Uploads(database, blobs, files),
        stores,
        StoreFiles(database, stores),
        Store(database),
        source,
    )
    source.close()
    database.close()
