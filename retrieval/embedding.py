"""Documents and queries to vectors, with what comes back checked."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.chunk import ChunkLimits, chunk_document
from retrieval.errors import RetrievalError
from retrieval.parse import Document
from retrieval.settings import RetrievalSettings
from retrieval.store import EmbeddedBy, Passage
from retrieval.types import Embedder

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
    document: Document, embedder: Embedder, settings: RetrievalSettings
) -> list[Passage]:
    """The document's chunks with their vectors, in order."""
    limits = ChunkLimits(
        size=settings.chunk_tokens,
        overlap=settings.chunk_overlap_tokens,
        max_tokens=embedder.max_tokens,
    )
    chunks = await chunk_document(document, limits, embedder.count_tokens)
    vectors = await embed_texts(embedder, [chunk.embed_text for chunk in chunks], "document")
    return [(chunk, row[np.newaxis]) for chunk, row in zip(chunks, vectors, strict=True)]
