"""/v1/uploads."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.schema.files import FileExpiration, FileObject, FilePurpose

__all__ = [
    "CompleteUploadRequest",
    "CreateUploadRequest",
    "Upload",
    "UploadPart",
    "UploadPartForm",
]

MOST_PARTS = 10_000


class CreateUploadRequest(Struct, frozen=True, kw_only=True):
    """A file that will come in parts. `bytes` is what they add up to."""

    bytes: Annotated[int, Meta(ge=0, le=2**53)]
    filename: Annotated[str, Meta(min_length=1, max_length=4096)]
    mime_type: Annotated[str, Meta(min_length=1, max_length=256)]
    purpose: FilePurpose
    expires_after: FileExpiration | UnsetType | None = UNSET


class CompleteUploadRequest(Struct, frozen=True, kw_only=True):
    """The parts in their order, and what their checksum must be."""

    part_ids: Annotated[list[str], Meta(max_length=MOST_PARTS)]
    md5: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{32}$")] | UnsetType | None = UNSET


class UploadPartForm(Struct, frozen=True, kw_only=True):
    """The multipart form of a part."""

    data: Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/octet-stream"})]


class Upload(Struct, frozen=True, kw_only=True):
    """`file` is there once the upload is completed."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None = None
    object: Literal["upload"] = "upload"


class UploadPart(Struct, frozen=True, kw_only=True):
    """A part that has arrived."""

    id: str
    upload_id: str
    created_at: int
    object: Literal["upload.part"] = "upload.part"
