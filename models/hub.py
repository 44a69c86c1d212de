"""The model hub, over the network: the home of the huggingface_hub client.

It lists a repository at a revision, fetches the bytes of a file from where a former attempt ended,
and links them into the cache. Every error leaves as a DownloadFailed that says what to do; no
message ever holds the token.

The client's own download begins again in a file of a new name each time, so here its lower layer
(`http_get`) writes into a file that stays. It asks again by itself where a connection breaks, five
times in a row without a new byte at most, and where it is told to wait (429).
"""

import errno
import logging
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx2
import msgspec
from filelock import Timeout
from huggingface_hub import (
    constants,
    get_token,
    hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import (
    http_get,  # pyright: ignore[reportUnknownVariableType]
)
from huggingface_hub.utils import (
    WeakFileLock,
    build_hf_headers,  # pyright: ignore[reportUnknownVariableType]
    disable_progress_bars,
    hf_raise_for_status,
    http_backoff,  # pyright: ignore[reportUnknownVariableType]
)
from msgspec import Struct

from models.errors import DownloadCode, DownloadFailed

__all__ = ["Hub", "Listing", "RemoteFile"]

TIMEOUT_S = 30.0  # for an answer about a repository, or the next bytes of a file
RETRIES = 5  # of a request that is told to come back later
LONGEST_WAIT_S = 300  # a hub that asks for more patience is reported instead of obeyed
CHUNK_BYTES = 1 << 20  # the client's are ten times larger: what a cut costs, and a bar's step
HIDDEN = "[token]"


class RemoteFile(Struct, frozen=True, kw_only=True):
    """A file of a repository. `blob` is its hash: SHA-256 of a large file, else git's own."""

    path: str
    size: int
    blob: str


class Listing(Struct, frozen=True, kw_only=True):
    """A repository at a commit."""

    commit: str
    files: dict[str, RemoteFile]


class Hub:
    """The hub at `HF_ENDPOINT`. `token` empty: what `hf auth login` has stored, if anything."""

    def __init__(self, token: str = "") -> None:
        self._token = token or get_token()
        set_client_factory(_client)
        disable_progress_bars()
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        # They log every retry, and what a server sends; what matters ends up in an error.
        for library in ("huggingface_hub", "httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.ERROR)

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE is set."""
        return constants.is_offline_mode()

    def listing(self, repo: str, revision: str) -> Listing:
        """All files of a repository. Raises DownloadFailed."""
        safe = revision.replace("/", "%2F")
        url = f"{constants.ENDPOINT}/api/models/{repo}/revision/{safe}"
        with self._errors(repo, revision):
            answer = http_backoff(
                "GET",
                url,
                params={"blobs": "true"},
                headers=self._headers(),
                timeout=TIMEOUT_S,
                max_retries=RETRIES,
                retry_on_exceptions=(),
            )
            hf_raise_for_status(answer)
            found = msgspec.json.decode(answer.content, type=_Repository)
            return Listing(
                commit=found.sha,
                files={
                    file.rfilename: RemoteFile(
                        path=file.rfilename,
                        size=file.lfs.size if file.lfs else file.size,
                        blob=file.lfs.sha256 if file.lfs else file.blob_id,
                    )
                    for file in found.siblings
                },
            )

    def fetch(self, repo: str, commit: str, file: RemoteFile, into: BinaryIO) -> None:
        """Append the rest of a file's bytes to `into`. Raises DownloadFailed.

        Where the hub will not begin in the middle, `into` is emptied first.
        """
        url = hf_hub_url(repo, file.path, revision=commit)
        with self._errors(repo, commit, file.path):
            http_get(url, into, resume_size=into.tell(), headers=self._headers())

    def link(self, repo: str, commit: str, path: str) -> Path:
        """The path of a file whose bytes are in the cache. Raises DownloadFailed."""
        with self._errors(repo, commit, path):
            return Path(hf_hub_download(repo, path, revision=commit, token=self._token))

    @contextmanager
    def lock(self, path: Path, timeout_s: float) -> Generator[bool, None, None]:
        """Hold a lock between processes; yields False if another holds it for `timeout_s`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = WeakFileLock(path, timeout=timeout_s)
        try:
            lock.__enter__()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.__exit__(None, None, None)

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(token=self._token, library_name="jurat")

    @contextmanager
    def _errors(self, repo: str, revision: str, path: str = "") -> Generator[None, None, None]:
        """Errors of the client and of HTTP as DownloadFailed, with what to do and no token."""
        try:
            yield
        except DownloadFailed:
            raise
        except (httpx2.HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
            cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
            code, text = self._explain(cause or error, repo, revision, path)
            # `from None`: the client's own error quotes what the server said.
            raise DownloadFailed(self._clean(text), code) from None
        except OSError as error:
            code, text = _os_error(error, path or repo)
            raise DownloadFailed(self._clean(text), code) from None
        except (msgspec.DecodeError, ValueError) as error:
            text = f"{constants.ENDPOINT} does not answer as a model hub would: {error}"
            raise DownloadFailed(self._clean(text), "unreachable") from None

    def _explain(
        self, error: BaseException, repo: str, revision: str, path: str
    ) -> tuple[DownloadCode, str]:
        page = f"{constants.ENDPOINT}/{repo}"
        if isinstance(error, OfflineModeIsEnabled):
            return "offline", (
                f"{repo} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it."
            )
        if not isinstance(error, HfHubHTTPError):
            kind = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return "unreachable", (
                f"{constants.ENDPOINT} cannot be reached, or is no model hub ({kind}). Check the "
                "connection, HF_ENDPOINT and HTTPS_PROXY, and pull again: what has come stays."
            )
        status = error.response.status_code
        if isinstance(error, GatedRepoError):
            return "access_denied", (
                f"{repo} is gated. Accept its licence at {page}, signed in, and set HF_TOKEN, or "
                f"HF_TOKEN_FILE to a file with the token, of that account. {self._given()}"
            )
        if isinstance(error, RevisionNotFoundError):
            return "no_such_file", (
                f"{repo} has no revision {revision}. `jurat models update` pins the newest one."
            )
        if isinstance(error, EntryNotFoundError):
            return "no_such_file", f"{repo} has no file {path} at {revision}."
        if isinstance(error, RepositoryNotFoundError) and status == HTTPStatus.NOT_FOUND:
            return "no_such_repository", f"There is no {page}. Is it spelled right?"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return "access_denied", (
                f"{page} is private, gated or does not exist ({status}). If it is there, accept "
                "its licence on that page if it has one, and set HF_TOKEN, or HF_TOKEN_FILE to "
                f"a file with the token, of an account that may read it. {self._given()}"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limited", (
                f"{constants.ENDPOINT} is asked too much from here (429). Wait some minutes and "
                "pull again: what has come stays. With a token in HF_TOKEN the limit is higher."
            )
        if status == HTTPStatus.NOT_FOUND:
            return "no_such_repository", f"There is no {error.response.url}."
        return "unreachable", f"{constants.ENDPOINT} answered {status} for {error.response.url}."

    def _given(self) -> str:
        if self._token:
            return "The token that is set may not read it."
        return "No token is set in HF_TOKEN or HF_TOKEN_FILE."

    def _clean(self, text: str) -> str:
        return text.replace(self._token, HIDDEN) if self._token else text


class _Lfs(Struct):
    """Of a file too large for git."""

    size: int
    sha256: str


class _Sibling(Struct):
    """A file, in the hub's words."""

    rfilename: str
    size: int = 0
    blob_id: str = msgspec.field(name="blobId", default="")
    lfs: _Lfs | None = None


class _Repository(Struct):
    """The hub's answer about a repository."""

    sha: str
    siblings: list[_Sibling]


def _client() -> httpx2.Client:
    return httpx2.Client(
        event_hooks={"request": [_stay_offline], "response": [_refuse_long_waits]},
        follow_redirects=True,
        timeout=TIMEOUT_S,
    )


def _stay_offline(request: httpx2.Request) -> None:
    if constants.is_offline_mode():
        raise OfflineModeIsEnabled(f"{request.url.host} is not asked while HF_HUB_OFFLINE is set.")


def _refuse_long_waits(response: httpx2.Response) -> None:
    """The client would sleep as long as it is told to."""
    wait = response.headers.get("retry-after", "")
    if wait.isdecimal() and int(wait[:9]) > LONGEST_WAIT_S:
        raise DownloadFailed(
            f"{constants.ENDPOINT} answered {response.status_code} and takes no request from here "
            f"for {wait} seconds. Pull again then: what has come stays.",
            "rate_limited",
        )


def _os_error(error: OSError, name: str) -> tuple[DownloadCode, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", (
            f"{name}: the disk of {constants.HF_HUB_CACHE} is full. Free some space, or set "
            "HF_HOME to a folder on another disk, and pull again: what has come stays."
        )
    # The client says what a hub sent wrongly by an OSError that no system call made.
    return "unreachable" if error.errno is None else "disk_error", f"{name}: {error}"
