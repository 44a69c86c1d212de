"""What of a long talk, or of what a search found, has room in a model's context."""

from collections.abc import Awaitable, Callable, Sequence

from gateway.schema.items import MessageItem, StoredItem

__all__ = ["Count", "greatest", "turns_of", "without_first"]

Count = Callable[[int], Awaitable[bool]]


async def greatest(most: int, fits: Count) -> int:
    """The greatest number from 0 to `most` that fits, where less fits better. 0 is not asked."""
    if most == 0 or await fits(most):
        return most
    low, high = 0, most  # `low` fits, or is 0; `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        if await fits(middle):
            low = middle
        else:
            high = middle
    return low


def turns_of(items: Sequence[StoredItem]) -> list[int]:
    """Where the turns begin that may be left out: at each user message but the last."""
    starts = [
        place
        for place, item in enumerate(items)
        if isinstance(item, MessageItem) and item.role == "user"
    ]
    return starts[:-1]


def without_first(items: Sequence[StoredItem], count: int) -> list[StoredItem]:
    """The items without the `count` oldest turns. What systems and developers said stays."""
    starts = [
        place
        for place, item in enumerate(items)
        if isinstance(item, MessageItem) and item.role == "user"
    ]
    if count <= 0 or count >= len(starts):
        return list(items)
    end = starts[count]
    kept = [
        item
        for item in items[:end]
        if isinstance(item, MessageItem) and item.role in ("system", "developer")
    ]
    return [*kept, *items[end:]]
