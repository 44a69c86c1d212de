"""A document as the rest of the package knows it, whatever format it came in."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["Document", "Markup", "of_pages"]

# "markdown": headings, lists and tables as in Markdown. "plain": prose with a few headings.
# "lines": records or source code, which are cut between lines only and have no headings.
Markup = Literal["markdown", "plain", "lines"]

_PAGE_GAP = "\n\n"  # a blank line: what stands on two pages is never one paragraph


class Document(Struct, frozen=True, kw_only=True):
    """A document's text, with newlines as `\\n` only.

    `page_starts` are the offsets, in code points, at which pages begin (the first is 0), and is
    empty where the format has no pages.
    """

    text: str
    markup: Markup
    page_starts: tuple[int, ...] = ()


def of_pages(pages: Sequence[str], markup: Markup) -> Document:
    """One document of the texts of its pages."""
    starts: list[int] = []
    offset = 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(_PAGE_GAP)
    return Document(text=_PAGE_GAP.join(pages), markup=markup, page_starts=tuple(starts))
