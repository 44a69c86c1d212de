"""Pages of items."""

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.errors import BadRequest
from gateway.schema.items import FileSearchCall, ItemList, StoredItem
from retrieval.types import Cursor, Page

__all__ = ["item_list", "page_of"]


def page_of(items: Sequence[StoredItem], cursor: Cursor) -> Page[StoredItem]:
    """A piece of items that are all there. Raises BadRequest."""
    ordered = list(reversed(items)) if cursor.descending else list(items)
    ids = [item.id for item in ordered]
    first, last = 0, len(ordered)
    for param, given in (("after", cursor.after), ("before", cursor.before)):
        if given is not None and given not in ids:
            raise BadRequest(f"{param}: '{given}' is not in this list", param, "invalid_value")
    if cursor.after is not None:
        first = ids.index(cursor.after) + 1
    if cursor.before is not None:
        last = ids.index(cursor.before)
    found = ordered[first:last]
    if cursor.before is not None and cursor.after is None:
        return Page(items=found[-cursor.limit :], has_more=len(found) > cursor.limit)
    return Page(items=found[: cursor.limit], has_more=len(found) > cursor.limit)


def item_list(page: Page[StoredItem], *, with_results: bool) -> ItemList:
    """Items as the wire has them; what searches found only where it is asked for."""
    data = [
        replace(item, results=None)
        if isinstance(item, FileSearchCall) and not with_results
        else item
        for item in page.items
    ]
    ids = [item.id or "" for item in data]
    first, last = (ids[0], ids[-1]) if ids else ("", "")
    return ItemList(data=data, first_id=first, last_id=last, has_more=page.has_more)
