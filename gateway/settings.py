"""The settings of a gateway, as written in gateway.toml. Reading them is config_files' concern."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from models.settings import Seconds
from retrieval.settings import RetrievalSettings

__all__ = [
    "AuthSettings",
    "DirectorySettings",
    "GatewaySettings",
    "LogLevel",
    "ModelsSection",
    "ResponsesSection",
    "RetrievalSection",
    "ServerSettings",
    "StoreSettings",
]

LogLevel = Literal["debug", "info", "warning", "error"]
# A name, a colon and a key without blanks; the pattern keeps keys out of error messages.
KeyEntry = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}:[!-~]{1,256}$")]
# Scheme, host and port, as browsers send it: no path, no slash at the end.
Origin = Annotated[str, Meta(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,]+)$")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
MIB = 1 << 20


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how the gateway listens."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000  # 0: any free port
    log_level: LogLevel = "info"
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 32 * MIB
    max_upload_bytes: Annotated[int, Meta(ge=1)] = 512 * MIB  # of one file
    keep_alive_s: Annotated[float, Meta(gt=0)] = 15.0  # between comments on an idle stream
    request_timeout_s: Annotated[float, Meta(gt=0)] | None = None  # None: no limit
    public_metrics: bool = False  # GET /metrics without a key
    # Web pages whose scripts may use the gateway from a browser; "*" is every page there is.
    cors_origins: list[Origin] = field(default_factory=list[str])
    shutdown_s: Annotated[float, Meta(ge=1)] = 8.0  # from the signal to the last process's end


class AuthSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """API keys, each `name:key`; the name owns what is created with the key."""

    keys: list[KeyEntry] = field(default_factory=list[str])
    admins: list[Name] | None = None  # names that may manage models; None: the first key's

    def __repr__(self) -> str:
        names = [entry.partition(":")[0] for entry in self.keys]
        return f"AuthSettings(names={names!r}, admins={self.admins!r})"


class DirectorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder of TOML files, relative to gateway.toml."""

    directory: Annotated[str, Meta(min_length=1)]


class ModelsSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the models are described, and how much memory they may take together."""

    directory: Annotated[str, Meta(min_length=1)] = "models"  # relative to gateway.toml
    memory_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.9  # of what is free at the start
    # Instead of the fraction: at most so many MiB, of the host's memory and of each GPU's.
    host_memory_mb: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    gpu_memory_mb: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None  # 0: use no GPU
    # Ids of models to load at the start, "*" all; None: those of package: and file: sources. What
    # does not fit beside the others is loaded when it is asked for.
    preload: list[Name] | None = None
    idle_timeout_s: Seconds | None = None  # a model that nobody uses is unloaded; None: never
    min_residency_s: Annotated[float, Meta(ge=0, le=86_400)] = (
        10.0  # kept by models that push each other out
    )
    max_waiting: Annotated[int, Meta(ge=1, le=2**31 - 1)] = (
        64  # requests for models that are not loaded
    )


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store filled at the first start. `paths` are files or folders, relative to the file.

    `read` lists the owners who may search it; "*" is everyone.
    """

    name: Name
    paths: Annotated[list[Name], Meta(min_length=1)]
    read: list[Name] = field(default_factory=lambda: ["*"])


class RetrievalSection(RetrievalSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retrieval package's own settings, and who embeds."""

    embedder: Name = "all-minilm-l6-v2"  # a model id
    reranker: str = ""  # the id of a model of kind "rerank" that orders what a search found
    rewrite_model: str = ""  # a chat model's id: writes queries anew where `rewrite_query` asks


class ResponsesSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of /v1/responses and /v1/conversations, and for how long."""

    store: bool = True  # False: nothing is kept, and no conversation can be made
    expire_days: Annotated[int, Meta(ge=1, le=36_500)] = 30  # after it was last used
    # Of one owner. Of more responses those go that were unused for longest; more conversations
    # than that are refused.
    max_responses: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    max_conversations: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    max_items: Annotated[int, Meta(ge=1, le=1_000_000)] = 2000  # of one conversation
    max_background: Annotated[int, Meta(ge=1, le=10_000)] = 32  # running at once


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of gateway.toml."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    models: ModelsSection = ModelsSection()
    ensembles: DirectorySettings = DirectorySettings(directory="ensembles")
    retrieval: RetrievalSection = RetrievalSection()
    responses: ResponsesSection = ResponsesSection()
    stores: list[StoreSettings] = field(default_factory=list[StoreSettings])
