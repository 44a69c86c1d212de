"""What can go wrong with documents.

RetrievalError
├── NotFound          the owner has no such file, upload or batch (or it is somebody else's)
│   └── StoreNotFound    the same of a vector store
│       ├── StoreExpired    the owner had it, and its time is over
│       └── StoreReadOnly   the owner may search it, and not write to it
├── FileRejected      a document cannot be taken: unreadable, empty, wrong format
├── InvalidRequest    an argument is unusable (an empty query, say); names it. Also a ValueError
│   └── QuotaExceeded    the store would hold more than its quota
├── DiskFull          nothing can be written now
├── EmbedderMismatch  the index was built by another embedder; says how to rebuild it
├── ReindexRuns       one run at a time
├── IndexDamaged      a derived index cannot be read; it is built anew, no user sees this
└── StoreLocked       another process writes this data directory
"""

from typing import Literal

__all__ = [
    "DiskFull",
    "EmbedderMismatch",
    "FileRejected",
    "IndexDamaged",
    "InvalidRequest",
    "NotFound",
    "QuotaExceeded",
    "ReindexRuns",
    "RetrievalError",
    "StoreExpired",
    "StoreLocked",
    "StoreNotFound",
    "StoreReadOnly",
]


class RetrievalError(Exception):
    """Base of every error this package raises on purpose; its text is fit for a user."""


class NotFound(RetrievalError):
    """The owner has no such thing. Said the same way of one that belongs to another.

    `param` is where the caller named it, if not where such a thing is named by itself.
    """

    def __init__(
        self,
        what: Literal["file", "upload", "batch", "vector store"],
        name: str,
        param: str | None = None,
    ) -> None:
        super().__init__(f"The {what} '{name}' does not exist.")
        self.what = what
        self.name = name
        self.param = param


class StoreNotFound(NotFound):
    """No such store."""

    def __init__(self, store: str, param: str | None = None) -> None:
        super().__init__("vector store", store, param)


class StoreExpired(StoreNotFound):
    """The owner's own store, whose `expires_after` is over; its passages are gone."""

    def __str__(self) -> str:
        return (
            f"The vector store '{self.name}' has expired, as its expires_after said, and is empty "
            "for good. Make another; its files are still there."
        )


class StoreReadOnly(StoreNotFound):
    """The store is another's, who lets it be searched."""

    def __str__(self) -> str:
        return f"The vector store '{self.name}' can be searched with this key, but not changed."


class FileRejected(RetrievalError):
    """The document cannot be taken; the message names the file and the reason.

    `unsupported` where it is of a kind that is not read at all.
    """

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.unsupported = unsupported


class InvalidRequest(RetrievalError, ValueError):
    """An argument is out of its range; `param` is its name, as the caller spells it."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param


class QuotaExceeded(InvalidRequest):
    """The store would hold more than its quota."""


class DiskFull(RetrievalError):
    """Nothing more can be written until there is room."""

    def __init__(self) -> None:
        super().__init__("The disk is full.")


class EmbedderMismatch(RetrievalError):
    """The stored vectors come from another embedder."""


class ReindexRuns(RetrievalError):
    """The documents are being reindexed, and cannot be a second time."""


class IndexDamaged(RetrievalError):
    """An index is not as it was written; the message names the file."""


class StoreLocked(RetrievalError):
    """Another process has the data directory open for writing; `holder` is its id, if known."""

    def __init__(self, message: str, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder
