"""Inputs to embed, and their vectors, between the wire and the engines."""

import base64

import numpy as np

from gateway.convert.inputs import inputs_of
from gateway.errors import BadRequest
from gateway.schema.embeddings import MAX_INPUTS, Embedding, EmbeddingRequest
from models import types

__all__ = ["embedding_items", "embedding_rows"]


def embedding_items(request: EmbeddingRequest) -> tuple[str | tuple[int, ...], ...]:
    """The inputs one by one. Raises BadRequest for an empty or mixed list."""
    items = inputs_of(request.input, "input", MAX_INPUTS)
    if not all(items):
        raise BadRequest("'input' must not be empty.", "input", "invalid_value")
    return items


def embedding_rows(
    result: types.EmbedResult, dimensions: int | None, encoding: str | None
) -> list[Embedding]:
    """The vectors, cut to `dimensions` and brought back to unit length. Raises BadRequest."""
    rows = np.frombuffer(result.vectors, dtype="<f4").reshape(-1, result.dimension)
    if dimensions is not None and dimensions > result.dimension:
        message = f"'dimensions' is {dimensions}; this model's vectors have {result.dimension}."
        raise BadRequest(message, "dimensions", "invalid_value")
    if dimensions is not None and dimensions < result.dimension:
        rows = rows[:, :dimensions]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = (rows / np.maximum(lengths, np.finfo(np.float32).tiny)).astype("<f4")
    if encoding == "base64":
        return [
            Embedding(index=number, embedding=base64.b64encode(row.tobytes()).decode())
            for number, row in enumerate(rows)
        ]
    return [Embedding(index=number, embedding=row.tolist()) for number, row in enumerate(rows)]
