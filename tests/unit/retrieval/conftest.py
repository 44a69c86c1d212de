from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.unit.retrieval.fakes import BagEmbedder

Opener = Callable[..., Library]


@pytest.fixture
def embedder() -> BagEmbedder:
    return BagEmbedder()


@pytest.fixture
def open_library(tmp_path: Path, embedder: BagEmbedder) -> Iterator[Opener]:
    """Opens libraries in one directory and closes what a test left open."""
    opened: list[Library] = []

    def opener(
        other: BagEmbedder | None = None, settings: RetrievalSettings | None = None
    ) -> Library:
        library = Library.open(tmp_path / "data", other or embedder, settings)
        opened.append(library)
        return library

    yield opener
    for library in opened:
        library.close()


@pytest.fixture
def library(open_library: Opener) -> Library:
    return open_library()
