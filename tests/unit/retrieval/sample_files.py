"""Small files of many formats, made by hand or by the libraries that write them."""

import io
import zipfile
from collections.abc import Mapping, Sequence

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"

# Parts within parts within parts: a quarter of a megabyte that takes minutes.
SLOW_MAIL = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 20_000
)


def archive(parts: Mapping[str, str]) -> bytes:
    """A ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in parts.items():
            written.writestr(name, content)
    return file.getvalue()


def docx(
    body: str,
    *,
    before: str = "",
    strict: bool = False,
    notes: str = "",
    diagram: str = "",
) -> bytes:
    """A Word document with this XML in its body, in one footnote, and in the diagram `d`."""
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    names = f"<w:footnotes xmlns:w='{_WORD}'><w:footnote>{notes}</w:footnote></w:footnotes>"
    parts = {
        "[Content_Types].xml": f"<Types xmlns='{_PACKAGE}/content-types'>"
        "<Default Extension='rels' "
        "ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
        f"<Override PartName='/word/document.xml' ContentType='{kind}.document.main+xml'/>"
        f"<Override PartName='/word/styles.xml' ContentType='{kind}.styles+xml'/>"
        f"<Override PartName='/word/footnotes.xml' ContentType='{kind}.footnotes+xml'/>"
        "<Override PartName='/word/data1.xml' ContentType='application/xml'/></Types>",
        "_rels/.rels": f"<Relationships xmlns='{_PACKAGE}/relationships'><Relationship Id='a' "
        f"Type='{_RELATIONS}/officeDocument' Target='word/document.xml'/></Relationships>",
        "word/_rels/document.xml.rels": f"<Relationships xmlns='{_PACKAGE}/relationships'>"
        f"<Relationship Id='s' Type='{_RELATIONS}/styles' Target='styles.xml'/>"
        f"<Relationship Id='n' Type='{_RELATIONS}/footnotes' Target='footnotes.xml'/>"
        f"<Relationship Id='d' Type='{_RELATIONS}/diagramData' Target='data1.xml'/>"
        "</Relationships>",
        "word/styles.xml": f"<w:styles xmlns:w='{_WORD}'>"
        "<w:style w:type='paragraph' w:styleId='H1'><w:name w:val='heading 1'/></w:style>"
        "<w:style w:type='paragraph' w:styleId='Own'><w:name w:val='Own'/>"
        "<w:pPr><w:outlineLvl w:val='1'/></w:pPr></w:style></w:styles>",
        "word/footnotes.xml": names,
        "word/data1.xml": diagram,
        "word/document.xml": f"{before}<w:document xmlns:w='{_WORD}' "
        "xmlns:m='http://schemas.openxmlformats.org/officeDocument/2006/math' "
        "xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006'>"
        f"<w:body>{body}</w:body></w:document>",
    }
    if strict:
        own = "http://purl.oclc.org/ooxml"
        parts = {
            name: xml.replace(_WORD, f"{own}/wordprocessingml/main").replace(
                _RELATIONS, f"{own}/officeDocument/relationships"
            )
            for name, xml in parts.items()
        }
    return archive(parts)


def pdf(pages: Sequence[str], *, encrypt: str = "") -> bytes:
    """A PDF with one line of text on each page; the lines of a page are parted by newlines."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(count))
    font = 3 + 2 * count
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {count}>>",
    ]
    for number, text in enumerate(pages):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n") if line)
        content = f"BT /F1 12 Tf 72 700 Td {lines}ET"
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {4 + 2 * number} 0 R"
            f"/Resources<</Font<</F1 {font} 0 R>>>>>>",
            f"<</Length {len(content)}>>stream\n{content}\nendstream",
        ]
    objects.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    if encrypt:
        objects.append(encrypt)
    return _pdf_file(objects, f"/Encrypt {len(objects)} 0 R/ID[<00><00>]" if encrypt else "")


def form_pdf(fields: Sequence[str], *, text: str = "Form") -> bytes:
    """A PDF of one page with this text and these annotations, all of them fields of its form."""
    references = " ".join(f"{6 + number} 0 R" for number in range(len(fields)))
    content = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
    return _pdf_file(
        [
            f"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[{references}]>>>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Annots[{references}]"
            "/Resources<</Font<</F1 5 0 R>>>>>>",
            f"<</Length {len(content)}>>stream\n{content}\nendstream",
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
            *(f"<</Type/Annot/Rect[0 0 9 9]{field}>>" for field in fields),
        ]
    )


def lettered_pdf(content: str, letters: Mapping[str, str]) -> bytes:
    """A PDF of one page with this content, in whose font each character is some other text."""
    shapes = "\n".join(
        f"<{ord(code):02x}> <{text.encode('utf-16-be').hex()}>" for code, text in letters.items()
    )
    named = (
        "/CIDInit/ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> "
        f"endcodespacerange {len(letters)} beginbfchar {shapes} endbfchar endcmap end"
    )
    drawn = f"BT /F1 12 Tf {content} ET"
    return _pdf_file(
        [
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
            "/Resources<</Font<</F1 5 0 R>>>>>>",
            f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream",
            "<</Type/Font/Subtype/Type1/BaseFont/Courier/ToUnicode 6 0 R>>",
            f"<</Length {len(named)}>>stream\n{named}\nendstream",
        ]
    )


def _pdf_file(objects: Sequence[str], trailer: str = "") -> bytes:
    file = bytearray(b"%PDF-1.4\n")
    places: list[int] = []
    for number, content in enumerate(objects, start=1):
        places.append(len(file))
        file += f"{number} 0 obj{content}endobj\n".encode("latin-1")
    table = len(file)
    file += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    file += f"trailer<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\n".encode()
    return bytes(file) + f"startxref\n{table}\n%%EOF".encode()


# No password fits these keys, the empty one included.
ENCRYPTED_PDF = pdf(
    ["Secret."],
    encrypt=f"<</Filter/Standard/V 1/R 2/O<{'11' * 32}>/U<{'22' * 32}>/P -4>>",
)


def ole(stream: str) -> bytes:
    """The beginning of an old Office file, or of an encrypted new one, with this stream."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + stream.encode("utf-16-le")
