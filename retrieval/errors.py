"""What can go wrong with documents.

RetrievalError
├── StoreNotFound     no such vector store for this owner (or it is somebody else's)
├── FileRejected      a document cannot be taken: unreadable, empty, wrong format
├── InvalidRequest    an argument is unusable (an empty query, say); names it. Also a ValueError
├── EmbedderMismatch  the index was built by another embedder; says how to rebuild it
├── IndexDamaged      a derived index cannot be read; it is built anew, no user sees this
└── StoreLocked       another process writes this data directory
"""

__all__ = [
    "EmbedderMismatch",
    "FileRejected",
    "IndexDamaged",
    "InvalidRequest",
    "RetrievalError",
    "StoreLocked",
    "StoreNotFound",
]


class RetrievalError(Exception):
    """Base of every error this package raises on purpose; its text is fit for a user."""


class StoreNotFound(RetrievalError):
    """The owner has no such store. Said the same way of a store that belongs to another."""

    def __init__(self, store: str) -> None:
        super().__init__(f"The vector store '{store}' does not exist.")
        self.store = store


class FileRejected(RetrievalError):
    """The document cannot be taken; the message names the file and the reason."""


class InvalidRequest(RetrievalError, ValueError):
    """An argument is out of its range; `param` is its name, as the caller spells it."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param


class EmbedderMismatch(RetrievalError):
    """The stored vectors come from another embedder."""


class IndexDamaged(RetrievalError):
    """An index is not as it was written; the message names the file."""


class StoreLocked(RetrievalError):
    """Another process has the data directory open for writing."""
