"""What the commands on documents share: stores by name, and a gateway to ask."""

from collections.abc import Generator
from contextlib import contextmanager

import openai
from openai.types import VectorStore

from clients.api import ClientError, connect, explain
from clients.private_gateway import reachable_gateway

__all__ = [
    "DEFAULT_STORE",
    "all_stores",
    "find_store",
    "find_stores",
    "gateway_client",
    "open_store",
]

DEFAULT_STORE = "documents"
_PAGE = 100


@contextmanager
def gateway_client(url: str | None, api_key: str | None) -> Generator[openai.OpenAI]:
    """The SDK's client of a gateway. Its errors leave as ClientError."""
    with reachable_gateway(url) as address, connect(address, api_key) as client:
        try:
            yield client
        except openai.OpenAIError as error:
            raise ClientError(explain(error, address)) from error


def all_stores(client: openai.OpenAI) -> list[VectorStore]:
    """Those that the key may search, then those that have expired."""
    stores = list(client.vector_stores.list(limit=_PAGE))
    return sorted(stores, key=_has_expired)


def find_store(client: openai.OpenAI, name: str) -> VectorStore | None:
    """The store of that id, else of that name that has not expired."""
    stores = all_stores(client)
    by_id = (store for store in stores if store.id == name)
    by_name = (store for store in stores if store.name == name and not _has_expired(store))
    return next(by_id, None) or next(by_name, None)


def open_store(client: openai.OpenAI, name: str) -> VectorStore:
    """The store of that id or name, made if missing: one, whoever else makes it now."""
    if found := find_store(client, name):
        return found
    made = client.vector_stores.create(name=name)
    named = [store for store in all_stores(client) if store.name == name]
    first = [store for store in named if not _has_expired(store)][-1]
    if first.id != made.id:
        client.vector_stores.delete(made.id)
    return first


def find_stores(client: openai.OpenAI, names: list[str]) -> list[VectorStore]:
    """The stores of those names or ids; all that have not expired, where none is named.

    Raises ClientError.
    """
    stores = all_stores(client)
    if not names:
        return [store for store in stores if not _has_expired(store)]
    found: list[VectorStore] = []
    for name in names:
        chosen = [store for store in stores if store.id == name] or [
            store for store in stores if store.name == name
        ]
        if not chosen:
            known = ", ".join(sorted(store.name for store in stores)) or "none"
            raise ClientError(f"There is no store '{name}'. Stores: {known}.")
        found.append(chosen[0])
    return found


def _has_expired(store: VectorStore) -> bool:
    return store.status == "expired"
