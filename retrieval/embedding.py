"""Documents and queries to vectors, with what comes back checked."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from retrieval.chunk import ChunkLimits, chunk_document
from retrieval.document import Document
from retrieval.errors import RetrievalError
from retrieval.settings import RetrievalSettings
from retrieval.store import EmbeddedBy, Passage
from retrieval.types import Chunking, Embedder

__all__ = ["chunk_and_embed", "embed_texts", "embedded_by"]

_BATCH = 64  # texts a call; large enough for the model, small enough for others to get between


def embedded_by(embedder: Embedder) -> EmbeddedBy:
    """The mark that vectors of `embedder` carry. It may not be known before the model is ready."""
    return EmbeddedBy(embedder.identity, embedder.dimension)


async def embed_texts(
    embedder: Embedder, texts: Sequence[str], kind: Literal["query", "document"]
) -> NDArray[np.float32]:
    """Vectors, shape (len(texts), dimension). Raises RetrievalError when they are not usable."""
    parts: list[NDArray[np.float32]] = []
    for first in range(0, len(texts), _BATCH):
        batch = texts[first : first + _BATCH]
        vectors = np.asarray(await embedder.embed(batch, kind), np.float32)
        if vectors.shape != (len(batch), embedder.dimension):
            raise RetrievalError(
                f"The embedder {embedder.identity} returned an array of shape {vectors.shape} "
                f"for {len(batch)} texts; expected ({len(batch)}, {embedder.dimension})."
            )
        if not np.isfinite(vectors).all():
            raise RetrievalError(f"The embedder {embedder.identity} returned NaN or infinity.")
        parts.append(vectors)
    return np.concatenate(parts) if parts else np.empty((0, embedder.dimension), np.float32)


async def chunk_and_embed(
    document: Document,
    embedder: Embedder,
    settings: RetrievalSettings,
    chunking: Chunking | None = None,
) -> list[Passage]:
    """The document's chunks in order, each with the vectors of its parts: (parts, dimension).

    `chunking`, if given, goes before what the settings say. Most chunks have one part; one that is
    longer than the embedder reads has several.
    """
    if chunking is not None:
        settings = replace(
            settings,
            chunk_words=None,
            chunk_tokens=chunking.chunk_tokens,
            chunk_overlap_tokens=chunking.overlap_tokens,
        )
    chunks = await chunk_document(
        document, _limits(settings, embedder.max_tokens), embedder.count_tokens
    )
    texts = [text for chunk in chunks for text in chunk.embed_texts]
    vectors = await embed_texts(embedder, texts, "document")
    ends = np.cumsum([len(chunk.embed_texts) for chunk in chunks])[:-1]
    return list(zip(chunks, np.split(vectors, ends), strict=True)) if chunks else []


def _limits(settings: RetrievalSettings, max_tokens: int) -> ChunkLimits:
    if settings.chunk_words is not None:
        return ChunkLimits(
            size=settings.chunk_words,
            overlap=settings.chunk_overlap_words,
            max_tokens=max_tokens,
            unit="words",
        )
    return ChunkLimits(
        size=settings.chunk_tokens,
        overlap=settings.chunk_overlap_tokens,
        max_tokens=max_tokens,
    )
