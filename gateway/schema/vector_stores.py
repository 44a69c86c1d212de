"""/v1/vector_stores, their files, batches of these, and search."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "Attributes",
    "AutoChunking",
    "ChunkLimits",
    "ChunkingStrategy",
    "CreateBatchRequest",
    "CreateStoreFileRequest",
    "CreateStoreRequest",
    "FileBatch",
    "FileCounts",
    "HybridWeights",
    "LastError",
    "Metadata",
    "RankingOptions",
    "SearchRequest",
    "SearchResult",
    "SearchResults",
    "StaticChunking",
    "StoreExpiration",
    "StoreFileDeleted",
    "StoreFileTexts",
    "TextContent",
    "UpdateStoreFileRequest",
    "UpdateStoreRequest",
    "VectorStore",
    "VectorStoreDeleted",
    "VectorStoreFile",
    "VectorStoreFileList",
    "VectorStoreList",
]

MOST_BATCHED = 2000
MOST_AT_CREATION = 500
MOST_QUERIES = 32
LONGEST_QUERY = 32_768

FileId = Annotated[str, Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(max_length=256)]
Description = Annotated[str, Meta(max_length=512)]
Quota = Annotated[int, Meta(ge=0, le=2**53)]
Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Attributes = dict[str, str | int | float | bool]
Query = Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)]
FileStatus = Literal["in_progress", "completed", "cancelled", "failed"]
Weight = Annotated[float, Meta(ge=0, le=1_000_000)]


class StoreExpiration(Struct, frozen=True, kw_only=True):
    """How long after it was last searched or added to a store ends."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class ChunkLimits(Struct, frozen=True, kw_only=True):
    """In tokens of the embedder. The overlap is at most half of the size."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]


class StaticChunking(Struct, frozen=True, kw_only=True, tag_field="type", tag="static"):
    """Cut as said."""

    static: ChunkLimits


class AutoChunking(Struct, frozen=True, kw_only=True, tag_field="type", tag="auto"):
    """Cut as the gateway is configured."""


ChunkingStrategy = StaticChunking | AutoChunking


class CreateStoreRequest(Struct, frozen=True, kw_only=True):
    """`quota_bytes` is an extension: what the files in the store may add up to."""

    name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    file_ids: Annotated[list[FileId], Meta(max_length=MOST_AT_CREATION)] | UnsetType | None = UNSET
    expires_after: StoreExpiration | UnsetType | None = UNSET
    chunking_strategy: ChunkingStrategy | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    quota_bytes: Quota | UnsetType | None = UNSET


class UpdateStoreRequest(Struct, frozen=True, kw_only=True):
    """What is given changes; null takes the expiry, the quota or the metadata away."""

    name: Name | UnsetType | None = UNSET
    expires_after: StoreExpiration | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    quota_bytes: Quota | UnsetType | None = UNSET


class FileCounts(Struct, frozen=True, kw_only=True):
    """How many files are how far."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStore(Struct, frozen=True, kw_only=True):
    """A store. `description` and `quota_bytes` are extensions."""

    id: str
    created_at: int
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    last_active_at: int
    metadata: dict[str, str]
    expires_after: StoreExpiration | UnsetType = UNSET
    expires_at: int | None = None
    description: str | UnsetType = UNSET
    quota_bytes: int | UnsetType = UNSET
    object: Literal["vector_store"] = "vector_store"


class VectorStoreList(Struct, frozen=True, kw_only=True):
    """A page of the stores that the key may search."""

    data: list[VectorStore]
    first_id: str
    last_id: str
    has_more: bool
    object: Literal["list"] = "list"


class VectorStoreDeleted(Struct, frozen=True, kw_only=True):
    """The store is gone; its files are still the owner's."""

    id: str
    deleted: bool = True
    object: Literal["vector_store.deleted"] = "vector_store.deleted"


class CreateStoreFileRequest(Struct, frozen=True, kw_only=True):
    """A file to put into a store."""

    file_id: FileId
    attributes: Attributes | UnsetType | None = UNSET
    chunking_strategy: ChunkingStrategy | UnsetType | None = UNSET


class UpdateStoreFileRequest(Struct, frozen=True, kw_only=True):
    """The attributes that replace those that are there."""

    attributes: Attributes | None


class LastError(Struct, frozen=True, kw_only=True):
    """Why a file could not be taken."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class VectorStoreFile(Struct, frozen=True, kw_only=True):
    """A file in a store. Its passages can be found once it is completed."""

    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus
    usage_bytes: int
    last_error: LastError | None
    attributes: Attributes
    chunking_strategy: StaticChunking
    object: Literal["vector_store.file"] = "vector_store.file"


class VectorStoreFileList(Struct, frozen=True, kw_only=True):
    """A page of the files of a store, or of a batch."""

    data: list[VectorStoreFile]
    first_id: str
    last_id: str
    has_more: bool
    object: Literal["list"] = "list"


class StoreFileDeleted(Struct, frozen=True, kw_only=True):
    """The file is no longer in the store; it is still the owner's."""

    id: str
    deleted: bool = True
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"


class TextContent(Struct, frozen=True, kw_only=True):
    """A piece of text."""

    text: str
    type: Literal["text"] = "text"


class StoreFileTexts(Struct, frozen=True, kw_only=True):
    """What a file was parsed to."""

    file_id: str
    filename: str
    attributes: Attributes
    data: list[TextContent]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"


class CreateBatchRequest(Struct, frozen=True, kw_only=True):
    """Either `file_ids`, with what holds for all of them, or `files`, each with its own."""

    file_ids: (
        Annotated[list[FileId], Meta(min_length=1, max_length=MOST_BATCHED)] | UnsetType | None
    ) = UNSET
    files: (
        Annotated[list[CreateStoreFileRequest], Meta(min_length=1, max_length=MOST_BATCHED)]
        | UnsetType
        | None
    ) = UNSET
    attributes: Attributes | UnsetType | None = UNSET
    chunking_strategy: ChunkingStrategy | UnsetType | None = UNSET


class FileBatch(Struct, frozen=True, kw_only=True):
    """Files put into a store with one call."""

    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus
    file_counts: FileCounts
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"


class HybridWeights(Struct, frozen=True, kw_only=True):
    """How much likeness and common words count. Both zero is refused."""

    embedding_weight: Weight
    text_weight: Weight


class RankingOptions(Struct, frozen=True, kw_only=True):
    """Results whose score is under `score_threshold` are left out."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | UnsetType | None = UNSET
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    hybrid_search: HybridWeights | UnsetType | None = UNSET


class SearchRequest(Struct, frozen=True, kw_only=True):
    """`filters` are comparisons of attributes, joined by `and` and `or`; 10 results by default."""

    query: Query | Annotated[list[str], Meta(min_length=1, max_length=MOST_QUERIES)]
    filters: dict[str, Any] | UnsetType | None = UNSET
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | UnsetType | None = UNSET
    ranking_options: RankingOptions | UnsetType | None = UNSET
    # By `retrieval.rewrite_model`; `search_query` says what was searched.
    rewrite_query: bool | UnsetType | None = UNSET


class SearchResult(Struct, frozen=True, kw_only=True):
    """A passage."""

    file_id: str
    filename: str
    score: float
    attributes: Attributes
    content: list[TextContent]


class SearchResults(Struct, frozen=True, kw_only=True):
    """All passages that were found; there are no further pages."""

    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
