"""Texts or token ids, as `input` of embeddings and `prompt` of completions have them."""

from typing import cast

from gateway.errors import BadRequest
from gateway.schema.common import Item

__all__ = ["inputs_of"]


def inputs_of(given: str | list[Item], param: str, most: int) -> tuple[str | tuple[int, ...], ...]:
    """One by one, of one kind: a list of ids is one input. Raises BadRequest that names `param`."""
    if isinstance(given, str):
        items: list[str | tuple[int, ...]] = [given]
    elif all(isinstance(item, int) for item in given):
        items = [tuple(cast("list[int]", given))]
    elif all(isinstance(item, str) for item in given):
        items = list(cast("list[str]", given))
    elif all(isinstance(item, list) for item in given):
        items = [tuple(item) for item in cast("list[list[int]]", given)]
    else:
        raise BadRequest(f"'{param}' mixes texts and token ids.", param, "invalid_value")
    if len(items) > most:
        message = f"'{param}' has {len(items)} items; at most {most} are taken."
        raise BadRequest(message, param, "invalid_value")
    return tuple(items)
