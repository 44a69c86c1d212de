"""Who is asking: API keys, and the ASGI layer that lets only their owners in."""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError, send_error
from gateway.toml import ConfigError, nearest

__all__ = [
    "LOCAL_OWNER",
    "PUBLIC_PATHS",
    "Authentication",
    "KeyRing",
    "admins_only",
    "check_exposure",
    "owner_of",
]

LOCAL_OWNER = "local"  # who everybody is while no key is set
PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/redoc", "/openapi.json"})
PUBLIC_PREFIX = "/static/"


class KeyRing:
    """The keys by digest; no key is kept in the clear.

    `admins` are the names that may manage models; None: the first key's alone, so that one key may
    do everything and no later one more than ask. Without keys everybody may. Raises ConfigError for
    a key given twice, and for an admin without a key.
    """

    def __init__(self, entries: Iterable[str], admins: Sequence[str] | None = None) -> None:
        self._owners: dict[bytes, str] = {}
        for entry in entries:
            name, _, key = entry.partition(":")
            digest = _digest(key)
            if self._owners.setdefault(digest, name) != name:
                raise ConfigError(f"'{name}' and '{self._owners[digest]}' have the same API key.")
        names = list(self._owners.values())
        for name in admins or ():
            if name not in names:
                raise ConfigError(f"auth.admins: '{name}' has no API key.{nearest(name, names)}")
        self._admins = frozenset(names[:1] if admins is None else admins)

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner(self, key: str) -> str | None:
        """The owner of a key. Compares with every key, so that time tells nothing."""
        digest, found = _digest(key), None
        for known, name in self._owners.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def is_admin(self, owner: str) -> bool:
        """Whether this owner may manage models."""
        return owner in self._admins or not self._owners


class Authentication:
    """Puts the owner, and what they may, into the scope's state, or answers 401 itself.

    The paths in `public` need no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, public: Iterable[str] = PUBLIC_PATHS) -> None:
        self._app = app
        self._keys = keys
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                owner = scope["state"]["owner"] = self._identify(scope)
                scope["state"]["admin"] = self._keys.is_admin(owner)
            except ApiError as error:
                await send_error(scope, send, error)
                return
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> str:
        if not self._keys:
            return LOCAL_OWNER
        path = scope["path"].rstrip("/") or "/"
        if path in self._public or path.startswith(PUBLIC_PREFIX):
            return ""
        key = _bearer(scope)
        if key is None:
            raise _unauthorized("No API key given: send the header 'Authorization: Bearer KEY'.")
        owner = self._keys.owner(key)
        if owner is None:
            raise _unauthorized("Incorrect API key provided.")
        return owner


def owner_of(scope: Scope) -> str:
    """The owner that Authentication found; empty where no key was needed."""
    return str(scope["state"].get("owner", ""))


def admins_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Litestar's guard of routes that change what everybody is served. Raises ApiError."""
    if not connection.scope["state"].get("admin"):
        raise ApiError(
            403,
            f"The API key of '{owner_of(connection.scope)}' may not manage this gateway: that "
            "takes a key of one whom auth.admins (JURAT_AUTH_ADMINS) names.",
            code="permission_denied",
        )


def check_exposure(host: str, keys: KeyRing) -> None:
    """Refuse to listen beyond this machine without a key. Raises ConfigError."""
    if keys or _is_loopback(host):
        return
    raise ConfigError(
        f"Listening on {host} would let anybody use this gateway: no API key is set. "
        "Set JURAT_API_KEYS=name:key (or [auth] keys in gateway.toml), "
        "or listen on this machine only with --host 127.0.0.1."
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _bearer(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            return key.strip() if scheme.lower() == "bearer" else None
    return None


def _unauthorized(message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, message, code="invalid_api_key", headers=headers)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
