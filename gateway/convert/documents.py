"""Files, uploads and vector stores between the wire and `retrieval`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from litestar import Request
from msgspec import UNSET, UnsetType

from gateway.errors import BadRequest
from gateway.schema.files import FileExpiration, FileList, FileObject
from gateway.schema.uploads import Upload, UploadPart
from gateway.schema.vector_stores import (
    Attributes,
    AutoChunking,
    ChunkingStrategy,
    ChunkLimits,
    CreateBatchRequest,
    CreateStoreFileRequest,
    CreateStoreRequest,
    FileBatch,
    FileCounts,
    HybridWeights,
    LastError,
    SearchResult,
    SearchResults,
    StaticChunking,
    StoreExpiration,
    TextContent,
    UpdateStoreRequest,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileList,
    VectorStoreList,
)
from retrieval.errors import FileRejected
from retrieval.fuse import Weights
from retrieval.parse import clean_filename
from retrieval.settings import RetrievalSettings
from retrieval.store_files import Attached
from retrieval.types import (
    BatchRecord,
    Chunking,
    Cursor,
    FileRecord,
    FileStatus,
    Hit,
    Page,
    StoreRecord,
    UploadRecord,
)
from retrieval.types import FileCounts as Counts
from retrieval.types import FileObject as File
from retrieval.types import UploadPart as Part
from retrieval.vector_stores import StoreChange

__all__ = [
    "attached",
    "batch",
    "batched",
    "cursor",
    "expires_s",
    "file_list",
    "file_object",
    "filename",
    "hybrid_weights",
    "new_store",
    "search_results",
    "status_filter",
    "store_change",
    "store_file",
    "store_file_list",
    "store_list",
    "upload",
    "upload_part",
    "vector_store",
]

T = TypeVar("T")
STATUSES: Mapping[str, FileStatus] = {
    status: status for status in ("in_progress", "completed", "failed", "cancelled")
}
ORDERS: Mapping[str, Literal["asc", "desc"]] = {"asc": "asc", "desc": "desc"}


# Lists


def cursor(request: Request[Any, Any, Any], most: int, default: int) -> Cursor:
    """Which piece of a list the query asks for. Raises BadRequest."""
    query = request.query_params
    limit = query.get("limit", str(default))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= most):
        raise BadRequest(f"limit must be from 1 to {most}.", "limit", "invalid_value")
    return Cursor(
        limit=int(limit),
        descending=_one_of(query.get("order", "desc"), ORDERS, "order") == "desc",
        after=query.get("after") or None,
        before=query.get("before") or None,
    )


def status_filter(request: Request[Any, Any, Any]) -> FileStatus | None:
    """Of which status the files of a list are to be. Raises BadRequest."""
    given = request.query_params.get("filter")
    return None if not given else _one_of(given, STATUSES, "filter")


def _one_of(given: str, known: Mapping[str, T], param: str) -> T:
    if given not in known:
        raise BadRequest(f"{param} must be one of {', '.join(known)}.", param, "invalid_value")
    return known[given]


def _ends(ids: Sequence[str]) -> tuple[str, str]:
    return (ids[0], ids[-1]) if ids else ("", "")


# Files and uploads


def filename(given: str, param: str) -> str:
    """The name that a file is kept by. Raises BadRequest."""
    try:
        return clean_filename(given)
    except FileRejected as error:
        raise BadRequest(f"{error}.", param, "invalid_value") from error


def expires_s(given: FileExpiration | UnsetType | None) -> int | None:
    """Seconds from a file's creation to its end."""
    return given.seconds if isinstance(given, FileExpiration) else None


def file_object(file: File) -> FileObject:
    """A file as the wire has it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at,
        filename=file.filename,
        purpose=file.purpose,
        expires_at=UNSET if file.expires_at is None else file.expires_at,
    )


def file_list(page: Page[File]) -> FileList:
    """A page of files."""
    first, last = _ends([file.id for file in page.items])
    return FileList(
        data=[file_object(file) for file in page.items],
        first_id=first,
        last_id=last,
        has_more=page.has_more,
    )


def upload(record: UploadRecord) -> Upload:
    """An upload as the wire has it."""
    return Upload(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        expires_at=record.expires_at,
        filename=record.filename,
        purpose=record.purpose,
        status=record.status,
        file=None if record.file is None else file_object(record.file),
    )


def upload_part(part: Part) -> UploadPart:
    """A part as the wire has it."""
    return UploadPart(id=part.id, upload_id=part.upload_id, created_at=part.created_at)


# Vector stores


def new_store(body: CreateStoreRequest) -> tuple[StoreChange, list[Attached]]:
    """A store and the files that it begins with. Raises BadRequest."""
    chunking = _chunking(body.chunking_strategy)
    files = [Attached(file_id=one, chunking=chunking) for one in _distinct(body.file_ids or [])]
    change = StoreChange(
        name=body.name or "",
        description=body.description or None,
        metadata=body.metadata or {},
        expires_days=_days(body.expires_after),
        quota_bytes=None if body.quota_bytes is UNSET else body.quota_bytes,
    )
    return change, files


def store_change(body: UpdateStoreRequest) -> StoreChange:
    """What is to change: what is not given stays, and null empties."""
    return StoreChange(
        name=UNSET if body.name is UNSET or body.name is None else body.name,
        metadata=UNSET if body.metadata is UNSET else body.metadata or {},
        expires_days=UNSET if body.expires_after is UNSET else _days(body.expires_after),
        quota_bytes=body.quota_bytes,
    )


def vector_store(record: StoreRecord) -> VectorStore:
    """A store as the wire has it."""
    waits = record.counts.in_progress > 0
    days = record.expires_days
    return VectorStore(
        id=record.id,
        created_at=record.created_at,
        name=record.name,
        usage_bytes=record.usage_bytes,
        file_counts=_counts(record.counts),
        status="expired" if record.expired else "in_progress" if waits else "completed",
        last_active_at=record.last_active_at,
        metadata=record.metadata,
        expires_after=(
            UNSET if days is None else StoreExpiration(anchor="last_active_at", days=days)
        ),
        expires_at=record.expires_at,
        description=record.description or UNSET,
        quota_bytes=UNSET if record.quota_bytes is None else record.quota_bytes,
    )


def store_list(page: Page[StoreRecord]) -> VectorStoreList:
    """A page of stores."""
    first, last = _ends([record.id for record in page.items])
    return VectorStoreList(
        data=[vector_store(record) for record in page.items],
        first_id=first,
        last_id=last,
        has_more=page.has_more,
    )


# Files in vector stores


def attached(body: CreateStoreFileRequest, place: str = "") -> Attached:
    """A file to put into a store. `place` is where in the body it stands. Raises BadRequest."""
    return Attached(
        file_id=body.file_id,
        attributes=_attributes(body.attributes),
        chunking=_chunking(body.chunking_strategy, place),
    )


def batched(body: CreateBatchRequest) -> list[Attached]:
    """The files of a batch, each once. Raises BadRequest."""
    if bool(body.files) == bool(body.file_ids):
        raise BadRequest("Give either file_ids or files.", "file_ids", "invalid_value")
    if body.files:
        given = [attached(one, f"files[{place}].") for place, one in enumerate(body.files)]
        return list({one.file_id: one for one in given}.values())
    chunking = _chunking(body.chunking_strategy)
    attributes = _attributes(body.attributes)
    return [
        Attached(file_id=one, attributes=attributes, chunking=chunking)
        for one in _distinct(body.file_ids or [])
    ]


def store_file(record: FileRecord, settings: RetrievalSettings) -> VectorStoreFile:
    """A file in a store as the wire has it; `settings` say what "auto" means."""
    error = None
    if record.error_code is not None:
        error = LastError(code=record.error_code, message=record.error_message or "")
    chunking = record.chunking or Chunking(
        chunk_tokens=settings.chunk_tokens, overlap_tokens=settings.chunk_overlap_tokens
    )
    return VectorStoreFile(
        id=record.id,
        created_at=record.created_at,
        vector_store_id=record.store_id,
        status=record.status,
        usage_bytes=record.usage_bytes,
        last_error=error,
        attributes=record.attributes,
        chunking_strategy=StaticChunking(
            static=ChunkLimits(
                max_chunk_size_tokens=chunking.chunk_tokens,
                chunk_overlap_tokens=chunking.overlap_tokens,
            )
        ),
    )


def store_file_list(page: Page[FileRecord], settings: RetrievalSettings) -> VectorStoreFileList:
    """A page of the files of a store."""
    first, last = _ends([record.id for record in page.items])
    return VectorStoreFileList(
        data=[store_file(record, settings) for record in page.items],
        first_id=first,
        last_id=last,
        has_more=page.has_more,
    )


def batch(record: BatchRecord) -> FileBatch:
    """A batch as the wire has it."""
    return FileBatch(
        id=record.id,
        created_at=record.created_at,
        vector_store_id=record.store_id,
        status=record.status,
        file_counts=_counts(record.counts),
    )


def search_results(queries: Sequence[str], hits: Sequence[Hit], threshold: float) -> SearchResults:
    """Passages as the wire has them: their score is what they are ordered by, from 0 to 1."""
    return SearchResults(
        search_query=list(queries),
        data=[
            SearchResult(
                file_id=hit.file_id,
                filename=hit.filename,
                score=min(max(hit.relevance, 0.0), 1.0),
                attributes=hit.attributes,
                content=[TextContent(text=hit.text)],
            )
            for hit in hits
            if hit.relevance >= threshold
        ],
    )


def hybrid_weights(given: HybridWeights | UnsetType | None, place: str) -> Weights | None:
    """What weighs how much in a search; `place` is where they stand. Raises BadRequest."""
    if given is UNSET or given is None:
        return None
    if not given.embedding_weight and not given.text_weight:
        param = f"{place}.hybrid_search"
        raise BadRequest("One of the weights must be above zero.", param, "invalid_value")
    return Weights(embedding=given.embedding_weight, text=given.text_weight)


def _attributes(given: Attributes | UnsetType | None) -> Attributes:
    return given or {}


def _chunking(given: ChunkingStrategy | UnsetType | None, place: str = "") -> Chunking | None:
    if given is UNSET or given is None or isinstance(given, AutoChunking):
        return None
    size, overlap = given.static.max_chunk_size_tokens, given.static.chunk_overlap_tokens
    if overlap > size // 2:
        raise BadRequest(
            "chunk_overlap_tokens must be at most half of max_chunk_size_tokens.",
            f"{place}chunking_strategy.static.chunk_overlap_tokens",
            "invalid_value",
        )
    return Chunking(chunk_tokens=size, overlap_tokens=overlap)


def _days(given: StoreExpiration | UnsetType | None) -> int | None:
    return given.days if isinstance(given, StoreExpiration) else None


def _counts(counts: Counts) -> FileCounts:
    return FileCounts(
        in_progress=counts.in_progress,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        total=counts.total,
    )


def _distinct(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))
