"""PDF: the text of every page, as PDFium reads it, and what was filled into its forms."""

import logging
import re
import unicodedata
from typing import cast

import pypdfium2 as pdfium
from pypdfium2 import raw

from retrieval.document import Document, of_pages
from retrieval.errors import FileRejected
from retrieval.formats.pdf_direction import in_reading_order
from retrieval.formats.pdf_form import filled_in
from retrieval.formats.plain import normal_newlines

__all__ = ["read_pdf"]

logging.getLogger("pypdfium2").setLevel(logging.ERROR)  # it tells of each form how to build it

# PDFium marks a hyphen that ends a line, and takes the line end away.
_LINE_HYPHEN = re.compile("[\ufffe\x02]\\s*(.?)")
# Characters that say how a letter looks: ligatures, and the joined shapes of Arabic.
_SHAPES = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb50-\ufdc7\ufdf0-\ufdfb\ufe70-\ufefc]+")
_PRIVATE = re.compile("[\ue000-\uf8ff]")  # glyphs whose font does not say what they stand for


def read_pdf(data: bytes) -> Document:
    """The text by pages. Raises FileRejected: encrypted, damaged, or without any text."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        code = cast("int | None", error.err_code)  # pyright: ignore[reportUnknownMemberType]
        if code == raw.FPDF_ERR_PASSWORD:
            raise FileRejected("the PDF is encrypted; save it without a password") from None
        raise FileRejected("the PDF is damaged or truncated") from None
    try:
        if document.get_formtype() != raw.FORMTYPE_NONE:
            # Before any page is opened.
            document.init_forms()  # pyright: ignore[reportUnknownMemberType]
        pages = [_page_text(document, number) for number in range(len(document))]
    finally:
        document.close()
    if not pages:
        raise FileRejected("the PDF has no pages")
    if not any(page.strip() for page in pages):
        raise FileRejected(
            f"the PDF has no text (pages: {len(pages)}), so it is probably scanned; "
            "run text recognition (OCR) on it"
        )
    letters = sum(len(page) - page.count(" ") for page in pages)
    if sum(len(_PRIVATE.findall(page)) for page in pages) > letters // 2:
        raise FileRejected("the PDF's fonts do not say which characters its glyphs stand for")
    return of_pages(pages, "plain")


def _page_text(document: pdfium.PdfDocument, number: int) -> str:
    """Empty where PDFium cannot read the page: one broken page does not cost the others."""
    try:
        page = document[number]
    except pdfium.PdfiumError:
        return ""
    try:
        textpage = page.get_textpage()
    except pdfium.PdfiumError:
        page.close()
        return ""
    try:
        text = in_reading_order(textpage.get_text_range(), textpage)
        if added := filled_in(document, page):
            text = f"{text}\n\n{added}" if text.strip() else added
    finally:
        textpage.close()
        page.close()
    text = _LINE_HYPHEN.sub(_joined, normal_newlines(text))
    text = _SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def _joined(found: re.Match[str]) -> str:
    """A word cut at a line's end is whole again; before a capital or a digit the hyphen was one."""
    following = found[1]
    return following if following.islower() else f"-{following}"
