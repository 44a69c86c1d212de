"""Text as it stands: plain text, Markdown, source code. Form feeds are page breaks."""

from retrieval.document import Document, Markup, of_pages

__all__ = ["normal_newlines", "read_plain"]


def read_plain(text: str, markup: Markup) -> Document:
    """The text with newlines as `\\n`, and the pages that form feeds make."""
    text = normal_newlines(text)
    if "\f" not in text:
        return Document(text=text, markup=markup)
    return of_pages(text.split("\f"), markup)


def normal_newlines(text: str) -> str:
    """`text` with every kind of line end as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
