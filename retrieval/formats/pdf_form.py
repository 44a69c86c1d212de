"""What was filled into a PDF: values of form fields, and text that was put on top of a page."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

__all__ = ["filled_in"]

_CHECKED = {raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON}
_WRITTEN = {
    raw.FPDF_FORMFIELD_TEXTFIELD,
    raw.FPDF_FORMFIELD_COMBOBOX,
    raw.FPDF_FORMFIELD_LISTBOX,
}
_PASSWORD = 1 << 13  # of a text field's flags


def filled_in(document: pdfium.PdfDocument, page: pdfium.PdfPage) -> str:
    """A line for each field of the page with a value, and for each free text; '' if none."""
    return "\n".join(_lines(document, page))


def _lines(document: pdfium.PdfDocument, page: pdfium.PdfPage) -> Iterator[str]:
    form = document.formenv
    for place in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, place)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_FREETEXT:
                line = _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            elif kind == raw.FPDF_ANNOT_WIDGET and form is not None:
                line = _field(form, annotation)
            else:
                line = ""
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
        if line:
            yield line


def _field(form: Any, annotation: Any) -> str:
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _CHECKED and raw.FPDFAnnot_IsChecked(form, annotation):
        value = _string(raw.FPDFAnnot_GetFormFieldExportValue, form, annotation) or "yes"
    elif kind in _WRITTEN and not _hidden(form, annotation):
        value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    else:
        value = ""
    if not value:
        return ""
    # What a reader is shown when it points there, else the name that programs know.
    name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
    name = name or _string(raw.FPDFAnnot_GetFormFieldName, form, annotation)
    return f"{name}: {value}" if name else value


def _hidden(form: Any, annotation: Any) -> bool:
    flags = raw.FPDFAnnot_GetFormFieldFlags(form, annotation)
    return flags > 0 and bool(flags & _PASSWORD)


def _string(read: Callable[..., int], *of: object) -> str:
    """What PDFium writes as UTF-16 with an ending zero, in one line."""
    size = read(*of, None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    read(*of, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return " ".join(buffer.raw[: size - 2].decode("utf-16-le", "replace").split())
