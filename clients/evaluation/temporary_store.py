"""A vector store for one measurement: filled, searched, and deleted again with its files."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import openai

__all__ = ["MODES", "Found", "TemporaryStore", "temporary_store"]

T = TypeVar("T")
R = TypeVar("R")

# How much the embeddings count and how much the words; None leaves it to the gateway.
MODES: Mapping[str, tuple[float, float] | None] = {
    "hybrid": None,
    "vector": (1.0, 0.0),
    "keyword": (0.0, 1.0),
}

_BATCH = 200  # files put into the store by one request
_AT_ONCE = 4  # requests
MOST_PASSAGES = 50  # that one search gives


class Found(NamedTuple):
    """A passage: of which document, and what it says."""

    document: str
    text: str


class TemporaryStore:
    """Documents by name, in one store."""

    def __init__(self, client: openai.OpenAI, store_id: str) -> None:
        self._client = client
        self._store = store_id
        self._names: dict[str, str] = {}  # by file id

    def add(self, documents: Sequence[tuple[str, str, bytes]]) -> list[str]:
        """(Name, file name, content) of each. Returns what was not taken, with the reason."""

        def upload(document: tuple[str, str, bytes]) -> None:
            name, filename, content = document
            file = self._client.files.create(file=(filename, content), purpose="assistants")
            self._names[file.id] = name

        _each(upload, documents)
        ids = list(self._names)
        for first in range(0, len(ids), _BATCH):
            self._client.vector_stores.file_batches.create_and_poll(
                self._store, file_ids=ids[first : first + _BATCH], poll_interval_ms=500
            )
        failed = self._client.vector_stores.files.list(self._store, filter="failed", limit=100)
        return [
            f"{self._names[file.id]}: {file.last_error.message if file.last_error else 'failed'}"
            for file in failed
        ]

    def search(self, queries: Sequence[str], mode: str, limit: int) -> list[list[Found]]:
        """The first passages for each query, best first."""
        weights = MODES[mode]

        def ask(query: str) -> list[Found]:
            # The SDK's types of a search lack what those of its file search tool have.
            extra: dict[str, object] = {}
            if weights is not None:
                pair = {"embedding_weight": weights[0], "text_weight": weights[1]}
                extra = {"ranking_options": {"hybrid_search": pair}}
            page = self._client.vector_stores.search(
                self._store,
                query=query,
                max_num_results=min(limit, MOST_PASSAGES),
                extra_body=extra,
            )
            return [
                Found(self._names[hit.file_id], "\n".join(part.text for part in hit.content))
                for hit in page.data
            ]

        return _each(ask, queries)

    def delete(self) -> None:
        """Removes the store and its files, as far as the gateway still answers."""
        with contextlib.suppress(openai.OpenAIError):
            self._client.vector_stores.delete(self._store)
            _each(self._client.files.delete, list(self._names))


@contextmanager
def temporary_store(client: openai.OpenAI) -> Generator[TemporaryStore]:
    """An empty store, deleted afterwards."""
    store = client.vector_stores.create(
        name="evaluate-retrieval", expires_after={"anchor": "last_active_at", "days": 1}
    )
    made = TemporaryStore(client, store.id)
    try:
        yield made
    finally:
        made.delete()


def _each(call: Callable[[T], R], given: Sequence[T]) -> list[R]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(call, given))
