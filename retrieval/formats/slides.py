"""PPTX: a page a slide, its title as heading; text, tables, charts and the speaker's notes."""

from collections.abc import Iterator
from typing import Any

from pptx import Presentation
from pptx.oxml import parse_xml
from pptx.slide import Slide

from retrieval.document import Document, of_pages
from retrieval.formats.drawing import drawn_text
from retrieval.formats.ooxml import checked_package
from retrieval.formats.table import markdown_table

__all__ = ["read_slides"]

Shape = Any  # python-pptx's types do not say which shapes have text


def read_slides(data: bytes) -> Document:
    """The slides in their order. Raises FileRejected for a package that cannot be used."""
    presentation = Presentation(checked_package(data))
    return of_pages([_slide_text(slide) for slide in presentation.slides], "markdown")


def _slide_text(slide: Slide) -> str:
    title = slide.shapes.title
    said = " ".join(title.text_frame.text.split()) if title is not None else ""
    blocks = [f"# {said}"] if said else []
    blocks += _blocks(slide.shapes, title, slide.part)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
        blocks.append(f"Notes: {frame.text}" if frame.text.strip() else "")
    # A vertical tab is a line break within a paragraph.
    return "\n\n".join(block.replace("\v", "\n").strip() for block in blocks if block.strip())


def _blocks(shapes: Any, title: Shape | None, part: Any) -> Iterator[str]:
    for shape in shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if hasattr(shape, "shapes"):  # a group
            yield from _blocks(shape.shapes, title, part)
        elif getattr(shape, "has_table", False):
            yield markdown_table([cell.text for cell in row.cells] for row in shape.table.rows)
        elif getattr(shape, "has_text_frame", False):
            paragraphs = [paragraph.text.strip() for paragraph in shape.text_frame.paragraphs]
            kept = [text for text in paragraphs if text]
            # Several short paragraphs are a list, whatever their marks look like.
            yield "\n".join(kept if len(kept) < 2 else [f"- {text}" for text in kept])
        else:
            yield from drawn_text(shape.element, part, parse_xml)
