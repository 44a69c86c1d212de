"""Documents, passages and hits: plain data."""

from collections.abc import Sequence
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from retrieval.filters import Attribute

__all__ = [
    "BatchRecord",
    "Chunking",
    "Cursor",
    "Embedder",
    "ErrorCode",
    "FileCounts",
    "FileObject",
    "FileRecord",
    "FileStatus",
    "Hit",
    "IngestReport",
    "Page",
    "StoreRecord",
    "UploadPart",
    "UploadRecord",
]

T = TypeVar("T")

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


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


class FileCounts(Struct, frozen=True, kw_only=True):
    """How many files of a store, or of a batch, are how far."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


class StoreRecord(Struct, frozen=True, kw_only=True):
    """A vector store. `readers` are owners who may search it; "*" is everyone."""

    id: str
    owner: str
    name: str
    description: str | None
    metadata: dict[str, str]
    readers: tuple[str, ...]
    created_at: int  # Unix seconds, as all times
    last_active_at: int
    expires_days: int | None  # after it was last active
    expires_at: int | None
    expired: bool  # then it is empty and nobody may search it
    quota_bytes: int | None  # of its files' contents, together
    counts: FileCounts
    chunk_count: int
    usage_bytes: int  # texts and vectors of its passages

    @property
    def file_count(self) -> int:
        """Files whose passages can be found."""
        return self.counts.completed


class FileObject(Struct, frozen=True, kw_only=True):
    """A file of an owner, in any number of stores or in none."""

    id: str
    purpose: str
    filename: str
    sha256: str
    bytes: int
    created_at: int
    expires_at: int | None


class Chunking(Struct, frozen=True, kw_only=True):
    """How a file is to be cut, in tokens of the embedder."""

    chunk_tokens: int
    overlap_tokens: int


class FileRecord(Struct, frozen=True, kw_only=True):
    """A file in a store. `document_id` is its `ref_id` attribute or its name's stem."""

    id: str
    store_id: str
    filename: str
    document_id: str
    sha256: str
    bytes: int
    status: FileStatus
    error_code: ErrorCode | None
    error_message: str | None
    attributes: dict[str, Attribute]
    chunking: Chunking | None  # None: as the settings say
    chunk_count: int
    usage_bytes: int
    created_at: int  # when it was put into the store


class BatchRecord(Struct, frozen=True, kw_only=True):
    """Files put into a store with one call."""

    id: str
    store_id: str
    created_at: int
    cancelled: bool
    counts: FileCounts

    @property
    def status(self) -> FileStatus:
        """A batch is completed when nothing of it waits, however its files ended."""
        if self.cancelled:
            return "cancelled"
        return "in_progress" if self.counts.in_progress else "completed"


class UploadRecord(Struct, frozen=True, kw_only=True):
    """A file that comes in parts. `bytes` is what they must add up to."""

    id: str
    purpose: str
    filename: str
    mime_type: str
    bytes: int
    status: UploadStatus
    created_at: int
    expires_at: int
    file: FileObject | None


class UploadPart(Struct, frozen=True, kw_only=True):
    """A part; its place is decided when the upload is completed."""

    id: str
    upload_id: str
    created_at: int


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """A piece of a list."""

    items: list[T]
    has_more: bool


class Cursor(Struct, frozen=True, kw_only=True):
    """Which piece of a list: `after` and `before` are ids that are not in it."""

    limit: int = 20
    descending: bool = True
    after: str | None = None
    before: str | None = None


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
    relevance: float = 0.0  # what the order is by, 0..1: likeness and words together
    attributes: dict[str, Attribute] = {}  # of its file in that store


class IngestReport(Struct, frozen=True, kw_only=True):
    """What an ingest did, by file name."""

    added: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()  # (file name, reason)
