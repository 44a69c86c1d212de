"""Documents, passages and hits: plain data."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Embedder", "FileRecord", "Hit", "IngestReport", "StoreRecord"]


class Embedder(Protocol):
    """What retrieval needs of an embedding model; passed in by the composition root."""

    @property
    def identity(self) -> str:
        """Names the model and its revision; vectors of different identities never mix."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """The longest input it reads, special tokens included."""
        ...

    async def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"]
    ) -> NDArray[np.float32]:
        """Unit vectors, shape (len(texts), dimension), in order; long texts are cut."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, without any cut."""
        ...


class StoreRecord(Struct, frozen=True, kw_only=True):
    """A vector store. `readers` are owners who may search it; "*" is everyone."""

    id: str
    owner: str
    name: str
    readers: tuple[str, ...]
    created_at: int  # Unix seconds
    file_count: int
    chunk_count: int


class FileRecord(Struct, frozen=True, kw_only=True):
    """A document in a store. `document_id` is its `ref_id` attribute or its name's stem."""

    id: str
    store_id: str
    filename: str
    document_id: str
    sha256: str
    bytes: int
    chunk_count: int
    created_at: int  # Unix seconds


class Hit(Struct, frozen=True, kw_only=True):
    """A passage found. `start` and `end` are offsets in code points into the document's text."""

    chunk_id: int
    store_id: str
    file_id: str
    document_id: str
    filename: str
    page: int | None  # 1-based, where the format has pages
    heading: str  # path of headings above it, "A > B", or empty
    start: int
    end: int
    score: float  # cosine similarity to the query, -1..1
    text: str


class IngestReport(Struct, frozen=True, kw_only=True):
    """What an ingest did, by file name."""

    added: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()  # (file name, reason)
