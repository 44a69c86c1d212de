"""Inputs to embed, and their vectors, between the wire and the engines."""

import base64
from typing import cast

import numpy as np

from gateway.errors import BadRequest
from gateway.schema.embeddings import MAX_INPUTS, Embedding, EmbeddingRequest
from models import types

__all__ = ["embedding_items", "embedding_rows"]


def embedding_items(request: EmbeddingRequest) -> tuple[str | tuple[int, ...], ...]:
    """The inputs one by one. Raises BadRequest for an empty or mixed list."""
    given = request.input
    if isinstance(given, str):
        items: list[str | tuple[int, ...]] = [given]
    elif all(isinstance(item, int) for item in given):
        items = [tuple(cast("list[int]", given))]
    elif all(isinstance(item, str) for item in given):
        items = list(cast("list[str]", given))
    elif all(isinstance(item, list) for item in given):
        items = [tuple(item) for item in cast("list[list[int]]", given)]
    else:
        raise BadRequest("'input' mixes texts and token ids.", "input", "invalid_value")
    if len(items) > MAX_INPUTS:
        message = f"'input' has {len(items)} items; at most {MAX_INPUTS} are taken."
        raise BadRequest(message, "input", "invalid_value")
    if not all(items):
        raise BadRequest("'input' must not be empty.", "input", "invalid_value")
    return tuple(items)


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
