"""The gateway that has a data directory open: where it listens, and what a command asks of it."""

import http.client
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.config_files import Configuration
from gateway.schema.common import ErrorResponse
from gateway.schema.reindex import ReindexRequest
from gateway.toml import ConfigError
from retrieval.errors import StoreLocked
from retrieval.reindex import Reindexed, Reindexing

__all__ = ["announce", "reindex_there"]

log = logging.getLogger("jurat.serve")

_ADDRESS = "gateway.json"
_SILENCE_S = 120.0  # many times the pause between two signs of life
_EVENT = b"data: "
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine: no proxy


class _Address(msgspec.Struct, frozen=True):
    process_id: str
    url: str


def announce(data_dir: Path, url: str) -> None:
    """Leaves for commands on this machine where this process listens, if there are documents."""
    draft = data_dir / f"{_ADDRESS}.new"
    try:
        draft.write_bytes(msgspec.json.encode(_Address(str(os.getpid()), url)))
        draft.replace(data_dir / _ADDRESS)
    except FileNotFoundError:
        pass
    except OSError as error:  # a full disk, say: it can serve
        log.warning("%s: %s", draft, error.strerror)


def reindex_there(
    found: Configuration, locked: StoreLocked, stores: Sequence[str] | None
) -> Iterator[Reindexing | Reindexed]:
    """Has the gateway that holds the data directory do it.

    Raises StoreLocked where it is no gateway that does, ConfigError for what the gateway says.
    """
    url = _url(found.data_dir, locked)
    asked = ReindexRequest(stores=None if stores is None else list(stores))
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        f"{url}/stores/reindex",
        msgspec.json.encode(asked),
        {"content-type": "application/json", "authorization": f"Bearer {_key(found)}"},
    )
    try:
        with _DIRECT.open(request, timeout=_SILENCE_S) as answer:
            for line in answer:
                if line.startswith(_EVENT):
                    yield _event(line.removeprefix(_EVENT))
    except urllib.error.HTTPError as error:
        with error:
            raise ConfigError(f"The gateway at {url} says: {_reason(error.read())}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(f"The gateway at {url} does not answer: {error}") from error


def _url(data_dir: Path, locked: StoreLocked) -> str:
    try:
        address = msgspec.json.decode((data_dir / _ADDRESS).read_bytes(), type=_Address)
    except (OSError, msgspec.MsgspecError):
        raise locked from None
    if address.process_id != locked.holder:  # left by a gateway that has ended
        raise locked
    return address.url


def _key(found: Configuration) -> str:
    """Of an administrator: whoever may read the configuration is one."""
    auth = found.settings.auth
    for entry in auth.keys:
        name, _, key = entry.partition(":")
        if auth.admins is None or name in auth.admins:
            return key
    return "none"


def _event(body: bytes) -> Reindexing | Reindexed:
    if "error" in json.loads(body):
        raise ConfigError(f"The gateway says: {_reason(body)}")
    return msgspec.json.decode(body, type=Reindexing | Reindexed)


def _reason(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=ErrorResponse).error.message
    except msgspec.MsgspecError:
        return body.decode("utf-8", "replace")[:200]
