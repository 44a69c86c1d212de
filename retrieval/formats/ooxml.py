"""Office files are ZIP archives of XML: opened with care, and made ready for their libraries."""

import io
import re
import zipfile
import zlib
from collections.abc import Container

from retrieval.errors import FileRejected

__all__ = ["checked_package"]

_MOST_PARTS = 10_000
_MOST_XML = 512 * 1024 * 1024  # bytes of XML unpacked
_MOST_RATIO = 1_000  # unpacked to packed; long sheets of equal rows reach some hundreds
_RATIO_FROM = 16 * 1024 * 1024  # bytes unpacked, below which the ratio does not matter

# ISO 29500 Strict has other names for the same elements; the libraries know the older ones.
_STRICT = b"http://purl.oclc.org/ooxml/"
_RENAMED = (
    (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships/",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/",
    ),
    (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    ),
    (
        b"http://purl.oclc.org/ooxml/wordprocessingml/main",
        b"http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    ),
    (
        b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    ),
    (
        b"http://purl.oclc.org/ooxml/presentationml/main",
        b"http://schemas.openxmlformats.org/presentationml/2006/main",
    ),
    (
        b"http://purl.oclc.org/ooxml/drawingml/",
        b"http://schemas.openxmlformats.org/drawingml/2006/",
    ),
    (
        b"http://purl.oclc.org/ooxml/officeDocument/math",
        b"http://schemas.openxmlformats.org/officeDocument/2006/math",
    ),
)

# Templates, shows that start by themselves and files with macros are read like plain documents.
_TYPES = "[Content_Types].xml"
_VARIANTS = tuple(
    (
        re.compile(rb"application/vnd\.(?:%b)\.\w+(?:\.macroEnabled\w*)?\.main\+xml" % names),
        b"application/vnd.openxmlformats-officedocument.%b.main+xml" % usual,
    )
    for names, usual in (
        (rb"openxmlformats-officedocument\.wordprocessingml|ms-word", b"wordprocessingml.document"),
        (
            rb"openxmlformats-officedocument\.presentationml|ms-powerpoint",
            b"presentationml.presentation",
        ),
    )
)


def checked_package(data: bytes, wanted: Container[str] | None = None) -> io.BytesIO:
    """The package of its XML parts alone, none of which holds a document type.

    Other parts than those `wanted` are left out. Raises FileRejected: a ZIP bomb, declared
    entities, encrypted or damaged parts.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [part for part in archive.infolist() if not part.is_dir()]
            _check_sizes(parts)
            if wanted is not None:
                parts = [part for part in parts if part.filename in wanted]
            return _rewritten(archive, parts)
    except RuntimeError as error:  # how zipfile says that a part is encrypted
        raise FileRejected(f"the Office file is encrypted: {error}") from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise FileRejected(f"the Office file is damaged: {error}") from None


def _check_sizes(parts: list[zipfile.ZipInfo]) -> None:
    if len(parts) > _MOST_PARTS:
        raise FileRejected(
            f"the Office file has {len(parts)} parts; at most {_MOST_PARTS} are taken"
        )
    unpacked = sum(part.file_size for part in parts if _is_xml(part))
    packed = sum(part.compress_size for part in parts if _is_xml(part))
    if unpacked > _MOST_XML or (unpacked > _RATIO_FROM and unpacked > _MOST_RATIO * packed):
        raise FileRejected(
            f"the Office file unpacks to {unpacked} bytes from {packed}: it looks like a ZIP bomb"
        )


def _rewritten(archive: zipfile.ZipFile, parts: list[zipfile.ZipInfo]) -> io.BytesIO:
    """Pictures and films keep their names and lose their bytes: nobody reads them."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as copy:
        for part in parts:
            content = archive.read(part) if _is_xml(part) else b""
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise FileRejected(f"the Office file declares XML entities in {part.filename}")
            if _STRICT in content:
                for strict, usual in _RENAMED:
                    content = content.replace(strict, usual)
            if part.filename == _TYPES:
                for variant, usual in _VARIANTS:
                    content = variant.sub(usual, content)
            copy.writestr(part.filename, content)
    package.seek(0)
    return package


def _is_xml(part: zipfile.ZipInfo) -> bool:
    return part.filename.lower().endswith((".xml", ".rels"))
