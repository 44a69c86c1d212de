"""Passages widened by the chunks around them."""

from collections.abc import Callable, Sequence

import msgspec

from retrieval.types import Hit

__all__ = ["widened"]


def widened(
    hits: Sequence[Hit],
    span: Callable[[int], tuple[int, int] | None],
    text: Callable[[Hit], str | None],
) -> list[Hit]:
    """The passages from where `span` of their chunk begins to where it ends.

    Passages that then touch or overlap are one, in the place of the best of them. `text` is a
    hit's whole document. What has gone meanwhile stays as it was found.
    """
    found: list[Hit] = []
    for hit in hits:
        start, end = span(hit.chunk_id) or (hit.start, hit.end)
        place = next(
            (
                at
                for at, other in enumerate(found)
                if (other.store_id, other.file_id) == (hit.store_id, hit.file_id)
                and other.start <= end
                and start <= other.end
            ),
            None,
        )
        if place is None:
            found.append(msgspec.structs.replace(hit, start=start, end=end))
        else:
            start, end = min(start, found[place].start), max(end, found[place].end)
            found[place] = msgspec.structs.replace(found[place], start=start, end=end)
    texts = {(hit.store_id, hit.file_id): text(hit) for hit in found}
    narrow = {hit.chunk_id: hit for hit in hits}
    return [
        narrow[hit.chunk_id]
        if (whole := texts[hit.store_id, hit.file_id]) is None
        else msgspec.structs.replace(hit, text=whole[hit.start : hit.end])
        for hit in found
    ]
