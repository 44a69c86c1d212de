"""What can go wrong with a model.

ModelError
├── ModelNotFound      no such model id in the catalog
├── SourceError        a model's file is missing, unreadable or not what it should be
│   ├── NotDownloaded      it is on a model hub and not on this machine yet
│   └── DownloadFailed     it cannot be fetched from there; `code` says why in a word
├── LoadFailed         the worker could not load the model; carries the tail of its log
│   └── DoesNotFit         it takes more memory than there is; says how much, and what would fit
├── EngineUnavailable  not loaded, loading, shutting down, or given up after repeated crashes
├── EngineCrashed      the worker process died while it had the request
├── QueueFull          too many requests are waiting; carries the seconds to wait
├── RequestTimeout     the request's deadline passed
└── InvalidRequest     the engine refuses the request; names the parameter at fault
    ├── ContextOverflow    the prompt does not fit; carries both numbers
    └── Unsupported        this model cannot do that (an embedder asked to chat, say)
"""

from typing import Literal

__all__ = [
    "ContextOverflow",
    "DoesNotFit",
    "DownloadCode",
    "DownloadFailed",
    "EngineCrashed",
    "EngineUnavailable",
    "InvalidRequest",
    "LoadFailed",
    "ModelError",
    "ModelNotFound",
    "NotDownloaded",
    "QueueFull",
    "RequestTimeout",
    "SourceError",
    "Unsupported",
]


class ModelError(Exception):
    """Base of every error this package raises on purpose; its text is fit for a user."""


class ModelNotFound(ModelError):
    """The catalog has no such model."""

    def __init__(self, model: str, known: tuple[str, ...] = ()) -> None:
        hint = f" Known models: {', '.join(known)}." if known else ""
        super().__init__(f"The model '{model}' does not exist.{hint}")
        self.model = model


class SourceError(ModelError):
    """A model's file is missing, unreadable or not what its source says."""


class NotDownloaded(SourceError):
    """The files of an `hf:` source are not on this machine; the message says how to get them."""


DownloadCode = Literal[
    "access_denied",  # a licence to accept, or a token to give
    "no_such_repository",
    "no_such_file",  # or several that could be meant
    "rate_limited",
    "unreachable",  # the hub does not answer, or not as a hub would
    "offline",
    "disk_full",
    "disk_error",
    "checksum",
]


class DownloadFailed(SourceError):
    """Files could not be fetched from a hub. What came so far stays, for the next attempt."""

    def __init__(self, message: str, code: DownloadCode) -> None:
        super().__init__(message)
        self.code: DownloadCode = code


class LoadFailed(ModelError):
    """The worker could not load the model."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


class DoesNotFit(LoadFailed):
    """The model takes more memory than it may have."""


class EngineUnavailable(ModelError):
    """The engine takes no requests now; the message says why and whether to come back."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineCrashed(ModelError):
    """The worker process died with the request inside."""


class QueueFull(ModelError):
    """Too many requests wait for this model."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestTimeout(ModelError):
    """The request's deadline passed before it was done."""


class InvalidRequest(ModelError):
    """The request cannot be served as it stands."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextOverflow(InvalidRequest):
    """The prompt (and the tokens asked for) do not fit the context."""

    def __init__(
        self, message: str, prompt_tokens: int, context: int, param: str = "messages"
    ) -> None:
        super().__init__(message, param)
        self.prompt_tokens = prompt_tokens
        self.context = context


class Unsupported(InvalidRequest):
    """This model cannot do what was asked of it."""
