"""What is read of each format; how files are refused stands in test_parse."""

import io
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest

from retrieval.document import Document
from retrieval.errors import FileRejected
from retrieval.formats.read import read_document
from retrieval.formats.table import markdown_table
from tests.unit.retrieval import sample_files as sample


def text_of(data: bytes | str, name: str) -> str:
    return read_document(data.encode() if isinstance(data, str) else data, name).text


def test_pdf_pages_and_words_cut_at_line_ends() -> None:
    document = read_document(sample.pdf(["A long pas-\nsage of Jean-\nPaul.", "Two."]), "a.pdf")
    assert document == Document(
        text="A long passage of Jean-Paul.\n\nTwo.",
        markup="plain",
        page_starts=(0, 30),
    )


def word(text: str, style: str = "", extra: str = "") -> str:
    named = f"<w:pStyle w:val='{style}'/>" if style else ""
    return f"<w:p><w:pPr>{named}{extra}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def cells(*texts: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{word(text)}</w:tc>" for text in texts) + "</w:tr>"


@pytest.mark.parametrize("strict", [False, True])
def test_word_structure_in_the_order_of_the_document(strict: bool) -> None:
    numbered = "<w:numPr><w:numId w:val='1'/></w:numPr>"
    body = (
        word("Title", "H1")
        + word("Own", "Own")
        + "<w:p><w:r><w:t>Said</w:t><w:tab/><w:t>so.</w:t></w:r>"
        "<w:del><w:r><w:t>gone</w:t></w:r></w:del>"
        "<w:ins><w:r><w:t> Added.</w:t></w:r></w:ins></w:p>"
        + word("one", extra=numbered)
        + word("two", extra=numbered)
        + f"<w:tbl>{cells('Code', 'Price')}{cells('A1', '5')}</w:tbl>"
        + f"<w:sdt><w:sdtContent>{word('In a control.')}</w:sdtContent></w:sdt>"
        + "<w:p><m:oMath><m:r><m:t>a=b</m:t></m:r></m:oMath></w:p>"
    )
    assert text_of(sample.docx(body, strict=strict, notes=word("A note.")), "a.docx") == (
        "# Title\n\n## Own\n\nSaid\tso. Added.\n\n- one\n- two\n\n"
        "| Code | Price |\n|---|---|\n| A1 | 5 |\n\nIn a control.\n\na=b\n\n## Notes\n\nA note."
    )


def saved(made: Any) -> bytes:
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def test_slides_are_pages() -> None:
    pptx = pytest.importorskip("pptx")
    made = pptx.Presentation()
    for title, lines in (("First", ["Only."]), ("Second", ["One.", "Two."])):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(lines)
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    table = slide.shapes.add_table(2, 2, 0, 0, 9, 9).table
    for row in range(2):
        for column in range(2):
            table.cell(row, column).text = f"{row}{column}"
    document = read_document(saved(made), "wrong.xlsx")
    assert document.text == (
        "# First\n\nOnly.\n\n# Second\n\n- One.\n- Two.\n\n"
        "| 00 | 01 |\n|---|---|\n| 10 | 11 |\n\nNotes: Say it slowly."
    )
    assert document.page_starts == (0, document.text.index("# Second"))


def test_sheets_are_sections_of_rows() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    import datetime

    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title = "Prices"
    sheet.append(["Name", "Price", "Since"])
    sheet.append(["Lamp\nred", 0.1 + 0.2, datetime.datetime(2024, 5, 1)])
    sheet.cell(2000, 1, True)
    made.create_sheet("Empty")
    assert text_of(saved(made), "a.xlsx") == (
        "## Prices\n\n| Name | Price | Since |\n|---|---|---|\n"
        "| Lamp red | 0.3 | 2024-05-01 |\n| TRUE |"
    )


def test_a_chart_that_is_a_sheet_is_passed_over() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    made.create_chartsheet("Chart", 0)  # without a chart
    made.active = 1
    made["Sheet"].append(["Lamp", 5])
    made["Sheet"].print_title_rows = "1:1"  # a name that is bound to the second sheet
    assert text_of(saved(made), "a.xlsx") == "## Sheet\n\n| Lamp | 5 |\n|---|---|"


def test_shared_strings_that_are_promised_and_missing() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    made.active.append([7])
    copy = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(made))) as archive,
        zipfile.ZipFile(copy, "w") as without,
    ):
        for part in set(archive.namelist()) - {"xl/sharedStrings.xml"}:
            without.writestr(part, archive.read(part))
    assert text_of(copy.getvalue(), "a.xlsx") == "## Sheet\n\n| 7 |\n|---|"


def test_a_workbook_that_lacks_a_sheet_is_refused_by_its_name() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    made["Sheet"].append(["Lamp", 5])
    made.create_sheet("Costs").append(["Desk", 9])
    whole = zipfile.ZipFile(io.BytesIO(saved(made)))
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as package:
        for part in whole.infolist():
            if part.filename != "xl/worksheets/sheet2.xml":
                package.writestr(part, whole.read(part))
    with pytest.raises(FileRejected, match="it names 'Costs'"):
        text_of(kept.getvalue(), "a.xlsx")


def test_cells_far_apart_are_a_small_table() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    made.active["C3"] = "near"
    made.active["XFD1048576"] = "far"
    expected = "## Sheet\n\n| near |  |\n|---|---|\n|  | far |"
    assert text_of(saved(made), "a.xlsx") == expected


HTML = """<!DOCTYPE html><html><head><title>Shop</title><style>p {}</style></head><body>
<nav><a href=x>Home</a></nav><script>alert("no")</script>
<h2>Lamps &amp; more</h2><p>A <b>red</b>
 lamp.<p hidden>secret<p style="display: none">secret
<ul><li>one<ul><li>inner</ul><li>two</ul><ol><li>first<li>second</ol>
<table><caption>Sizes</caption><tr><th>Code<th>Price<tr><td>A1<td>5 <i>€</i></table>
<table><tr><td><table><tr><td>laid out</table></table>
<pre>x  =  1
y</pre><footer>Imprint</footer></body></html>"""


def test_html_is_what_its_reader_reads() -> None:
    expected = (
        "# Shop\n\n## Lamps & more\n\nA red lamp.\n\n- one\n  - inner\n- two\n"
        "1. first\n2. second\n\n"
        "Sizes\n\n| Code | Price |\n|---|---|\n| A1 | 5 € |\n\nlaid out\n\n```\nx  =  1\ny\n```"
    )
    assert text_of(HTML, "a.html") == expected
    assert text_of(HTML, "page.txt") == expected, "its content says that it is HTML"


def test_html_of_the_main_part_where_the_page_marks_one() -> None:
    page = "<body><p>Menu<main><h1>Title</h1><p>The text of the page.</main><p>Adverts"
    assert text_of(page, "a.html") == "# Title\n\nThe text of the page."
    little = "<body><p>All of the text of the page stands here.<main>x</main>"
    assert "stands here" in text_of(little, "a.html")


@pytest.mark.parametrize(
    ("head", "codec"), [('charset="windows-1251"', "cp1251"), ("charset=iso-8859-1", "cp1252")]
)
def test_html_says_its_own_encoding(head: str, codec: str) -> None:
    text = {"cp1251": "Привет, мир", "cp1252": "“Größe” — 5 €"}[codec]
    page = f"<meta {head}><p>{text}".encode(codec)
    assert text_of(page, "a.html") == text


def test_html_nested_without_end() -> None:
    assert text_of("<b>" * 20_000 + "x", "a.html") == "x"
    assert text_of("<table><tr><td>" * 2_000 + "x", "a.html") == "x"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Name,Price\nLamp,5\n\n", "a.csv"),
        ("Name;Price\nLamp;5", "a.csv"),
        ("Name\tPrice\r\nLamp\t5", "a.tsv"),
        ('Name,Price\n"Lamp",5', "a.csv"),
    ],
)
def test_delimited_rows_are_a_table(text: str, name: str) -> None:
    assert text_of(text, name) == "| Name | Price |\n|---|---|\n| Lamp | 5 |"


def test_a_csv_of_many_columns_is_read() -> None:
    row = ",".join(f"c{number}" for number in range(10_000))
    assert "c9999" in text_of(f"{row}\n{row}", "a.csv")


def test_tables_have_no_empty_ends() -> None:
    assert markdown_table([["a", "", ""], [" ", ""], ["b\nc", "d", ""]]) == (
        "| a |  |\n|---|---|\n| b c | d |"
    )
    assert markdown_table([[""], []]) == ""


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (
            '[{"a": 1.10, "b": {"c": [1, 2]}}, {"a": null, "b": "x\\ny"}]',
            "a.json",
            "a: 1.10\nb.c: 1, 2\n\nb: x y",
        ),
        ('{"a": true, "b": 12345678901234567890}', "a.json", "a: true\nb: 12345678901234567890"),
        ('{"a": [{"b": 1}, {"b": 2}]}', "a.json", "a.b: 1\na.b: 2"),
        ('{"a": "\\ud800"}', "a.json", "a: \ufffd"),
        ('{"a": 1, "b', "a.json", '{"a": 1, "b'),
        ('{"a": 1}\n{"a": 2', "a.jsonl", 'a: 1\n\n{"a": 2'),
    ],
)
def test_json_is_a_line_a_value(text: str, name: str, expected: str) -> None:
    document = read_document(text.encode(), name)
    assert (document.text, document.markup) == (expected, "lines")


MAIL = """From: Ann <ann@example.org>
To: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>
Subject: =?utf-8?b?UHJlaXNl?= for
 lamps
Date: Fri, 1 Mar 2024 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=c

--c
Content-Type: text/html; charset=utf-8

<p>Hello <b>HTML</b>
--c
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe.
--c--
--b
Content-Type: application/pdf; name="list.pdf"
Content-Disposition: attachment; filename="list.pdf"

x
--b--
"""


def test_mail() -> None:
    assert text_of(MAIL, "a.eml") == (
        "# Preise for lamps\n\nFrom: Ann <ann@example.org>\nTo: Jörg <joerg@example.org>\n"
        "Date: Fri, 01 Mar 2024 10:00:00 +0000\n\nGrüße.\n\nAttachments: list.pdf"
    )
    html = MAIL.replace("text/plain", "application/x-unknown")
    assert "Hello HTML" in text_of(html, "a.eml")


@pytest.mark.parametrize(
    ("name", "markup"),
    [("a.py", "lines"), ("a.md", "markdown"), ("a.txt", "plain"), ("README", "plain")],
)
def test_text_is_what_its_name_says(name: str, markup: str) -> None:
    assert read_document(b"# A\n\nx", name).markup == markup


@pytest.mark.parametrize(
    "write", [lambda: sample.pdf(["Found."]), lambda: sample.docx(word("Found."))]
)
def test_the_content_decides_not_the_name(write: Callable[[], bytes]) -> None:
    assert text_of(write(), "a.csv") == "Found."
    assert text_of("Found.", "a.pdf") == "Found."


def test_a_forwarded_message_is_read_with_the_one_that_has_it() -> None:
    inner, outer = EmailMessage(), EmailMessage()
    inner["Subject"] = "Pump four"
    inner.set_content("It leaks at the seal.")
    outer["Subject"] = "Fwd"
    outer.set_content("See below.")
    outer.add_attachment(inner)
    outer.add_attachment("1,2", filename="readings.csv")
    assert text_of(outer.as_bytes(), "a.eml") == (
        "# Fwd\n\nSee below.\n\nAttachments: readings.csv\n\n# Pump four\n\nIt leaks at the seal."
    )


@pytest.mark.parametrize("mark", [";", "|", "\t"])
def test_a_first_line_may_say_the_delimiter(mark: str) -> None:
    text = f"sep={mark}\na,x{mark}b,y\n"
    assert text_of(text, "a.csv") == "| a,x | b,y |\n|---|---|"


def test_a_text_that_speaks_of_pdf_is_a_text() -> None:
    assert text_of("A PDF begins with %PDF-1.7.", "a.md") == "A PDF begins with %PDF-1.7."
    with pytest.raises(FileRejected, match="the PDF is damaged"):
        text_of("junk\n%PDF-1.7\n1 0 obj\n<<", "a.txt")


def test_a_text_of_comments_alone_is_no_page() -> None:
    # As many ways to part them as there are subsets: none may be tried but one.
    text = "<!---->" * 500 + "x"
    assert text_of(text, "a") == text


@pytest.mark.parametrize(
    "before", ['<?xml version="1.0"?>\n', "<!-- saved\nfrom -->", "\ufeff \n", "<!DOCTYPE html>"]
)
def test_a_page_is_known_by_its_beginning(before: str) -> None:
    assert text_of(f"{before}<HTML lang=en><p>A &amp; B", "page") == "A & B"


def test_cells_stand_under_their_heads_whatever_spans_rows_and_columns() -> None:
    page = """<table><tr><th rowspan=2>Name<th colspan=2>2024<tr><th>Q1<th>Q2
        <tr><td rowspan=2>Ann<td>1<td>2<tr><td>3<td>4
        <tr><td colspan=2>Total<td>9<tr><td>Bob<td colspan=999999999999>x</table>"""
    assert text_of(page, "a.html") == (
        "| Name | 2024 |  |\n|---|---|---|\n|  | Q1 | Q2 |\n| Ann | 1 | 2 |\n|  | 3 | 4 |\n"
        "| Total |  | 9 |\n| Bob | x |"
    )


def test_cells_of_word_that_span_columns() -> None:
    wide = "<w:tcPr><w:gridSpan w:val='2'/></w:tcPr>"
    rows = [cells("a", "b", "c"), f"<w:tr><w:tc>{wide}{word('Sum')}</w:tc><w:tc>{word('9')}</w:tc>"]
    body = f"<w:tbl>{rows[0]}{rows[1]}</w:tr></w:tbl>"
    expected = "| a | b | c |\n|---|---|---|\n| Sum |  | 9 |"
    assert text_of(sample.docx(body), "a.docx") == expected


def of_type(data: bytes, usual: str, other: str) -> bytes:
    """An Office file that says to be of another type."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as copy:
        for part in archive.infolist():
            content = archive.read(part)
            if part.filename == "[Content_Types].xml":
                assert f"{usual}.main+xml".encode() in content
                content = content.replace(usual.encode(), other.encode())
            copy.writestr(part.filename, content)
    return made.getvalue()


@pytest.mark.parametrize(
    "other",
    [
        "openxmlformats-officedocument.wordprocessingml.template",
        "ms-word.document.macroEnabled",
        "ms-word.template.macroEnabledTemplate",
    ],
)
def test_word_templates_and_files_with_macros(other: str) -> None:
    usual = "openxmlformats-officedocument.wordprocessingml.document"
    assert text_of(of_type(sample.docx(word("Found.")), usual, other), "a") == "Found."


@pytest.mark.parametrize(
    "other",
    [
        "openxmlformats-officedocument.presentationml.template",
        "openxmlformats-officedocument.presentationml.slideshow",
        "ms-powerpoint.presentation.macroEnabled",
        "ms-powerpoint.slideshow.macroEnabled",
    ],
)
def test_slide_shows_and_templates(other: str) -> None:
    pptx = pytest.importorskip("pptx")
    made = pptx.Presentation()
    made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = "Found."
    usual = "openxmlformats-officedocument.presentationml.presentation"
    assert text_of(of_type(saved(made), usual, other), "a") == "# Found."


def parts(kind: str, *inner: str) -> str:
    """A multipart message, or a part of one."""
    mark = f"mark-{len(''.join(inner))}"
    body = "".join(f"--{mark}\n{one}\n" for one in inner)
    return f"Content-Type: multipart/{kind}; boundary={mark}\n\n{body}--{mark}--\n"


PLAIN, PAGE = "Content-Type: text/plain\n\n", "Content-Type: text/html\n\n"
FILE = "Content-Disposition: attachment; filename="


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            parts("mixed", f"{PLAIN}One.", f"{FILE}a.txt\n{PLAIN}no", f"{PLAIN}Two."),
            "One.\n\nTwo.\n\nAttachments: a.txt",
        ),
        (parts("mixed", f"{PAGE}<p>One.", f"{PAGE}<p>Two."), "One.\n\nTwo."),
        (parts("alternative", f"{PLAIN} ", f"{PAGE}<p>One."), "One."),
        (
            parts(
                "alternative",
                f"{PLAIN}One.",
                parts("related", f"{PAGE}<p>no", "Content-Type: image/png; name=a.png\n\nx"),
            ),
            "One.\n\nAttachments: a.png",
        ),
        ("Content-Type: multipart/mixed\n\nOne.", "One."),
    ],
    ids=["text after a file", "pages", "blank text", "a page with a picture", "no parts"],
)
def test_all_texts_of_a_mail_are_read_each_once(message: str, expected: str) -> None:
    assert text_of(f"MIME-Version: 1.0\n{message}", "a.eml") == expected


@pytest.mark.parametrize("codec", ["utf-8", "latin-1"])
def test_headers_of_mail_in_the_encoding_of_its_writer(codec: str) -> None:
    mail = f"From: Jörg\nSubject: Grüße\nContent-Type: text/plain; charset={codec}\n\nSchön."
    assert text_of(mail.encode(codec), "a.eml") == "# Grüße\n\nFrom: Jörg\n\nSchön."
