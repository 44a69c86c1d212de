"""/v1/files."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "CreateFileForm",
    "FileDeleted",
    "FileExpiration",
    "FileList",
    "FileObject",
    "FilePurpose",
]

FilePurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class FileExpiration(Struct, frozen=True, kw_only=True):
    """When a file is to be removed."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


class CreateFileForm(Struct, frozen=True, kw_only=True):
    """The multipart form of an upload."""

    file: Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/octet-stream"})]
    purpose: FilePurpose
    expires_after: FileExpiration | UnsetType = UNSET


class FileObject(Struct, frozen=True, kw_only=True):
    """A file of the key's owner."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | UnsetType = UNSET
    status: Literal["processed"] = "processed"
    object: Literal["file"] = "file"


class FileList(Struct, frozen=True, kw_only=True):
    """A page of files; the ids are empty where it is."""

    data: list[FileObject]
    first_id: str
    last_id: str
    has_more: bool
    object: Literal["list"] = "list"


class FileDeleted(Struct, frozen=True, kw_only=True):
    """The file is gone, from all vector stores too."""

    id: str
    deleted: bool = True
    object: Literal["file"] = "file"
