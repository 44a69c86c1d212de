"""What is read of OpenDocument files."""

import pytest

from retrieval.errors import FileRejected
from retrieval.formats.read import read_document
from tests.unit.retrieval import sample_files as sample

NAMES = " ".join(
    f"xmlns:{short}='urn:oasis:names:tc:opendocument:xmlns:{name}:1.0'"
    for short, name in (
        ("office", "office"),
        ("text", "text"),
        ("table", "table"),
        ("draw", "drawing"),
        ("presentation", "presentation"),
    )
)


def opendocument(kind: str, body: str, manifest: str = "<a/>") -> bytes:
    element = f"office:{kind}"
    return sample.archive(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {NAMES}><office:body><{element}>{body}"
            f"</{element}></office:body></office:document-content>",
            "META-INF/manifest.xml": manifest,
        }
    )


def test_a_text_in_the_order_of_the_document() -> None:
    body = """
    <text:tracked-changes><text:p>gone</text:p></text:tracked-changes>
    <text:p text:style-name="Title">Guide</text:p>
    <text:table-of-content><text:p>Chapter 1</text:p></text:table-of-content>
    <text:h text:outline-level="2">A
      chapter</text:h>
    <text:section><text:p>Said<text:tab/>so<text:s text:c="2"/><text:span>here</text:span>
    twice<text:note><text:note-citation>1</text:note-citation><text:note-body>
    <text:p>A note.</text:p></text:note-body></text:note>.<text:line-break/>Next<office:annotation>
    <text:p>why?</text:p></office:annotation>.</text:p></text:section>
    <text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner</text:p>
    </text:list-item></text:list></text:list-item><text:list-item><text:p>two</text:p>
    </text:list-item></text:list>
    <table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Code</text:p>
    </table:table-cell><table:table-cell><text:p>Price</text:p></table:table-cell></table:table-row>
    </table:table-header-rows><table:table-row><table:table-cell><text:p>A1</text:p>
    </table:table-cell><table:table-cell><text:p>5</text:p><text:p>EUR</text:p></table:table-cell>
    </table:table-row></table:table>
    <text:p>A box:<draw:frame><draw:text-box><text:p>In the box.</text:p></draw:text-box>
    </draw:frame></text:p>"""
    assert read_document(opendocument("text", body), "a.odt").text == (
        "# Guide\n\n## A chapter\n\nSaid\tso here twice.\nNext.\n\n- one\n- inner\n- two\n\n"
        "| Code | Price |\n|---|---|\n| A1 | 5 EUR |\n\nA box:\n\nIn the box.\n\n"
        "## Notes\n\nA note."
    )


def test_a_sheet_with_cells_and_rows_that_stand_for_many() -> None:
    cell = "<table:table-cell{more}><text:p>{text}</text:p></table:table-cell>"
    twice = " table:number-columns-repeated='2'"
    rows = (
        f"<table:table-row>{cell.format(text='Code', more='')}"
        f"<table:table-cell{twice}/>{cell.format(text='0.5%', more=twice)}"
        "<table:table-cell table:number-columns-repeated='16379'/></table:table-row>"
        "<table:table-row table:number-rows-repeated='2'><table:table-cell/>"
        f"{cell.format(text='x', more='')}</table:table-row>"
        "<table:table-row table:number-rows-repeated='1048573'>"
        "<table:table-cell table:number-columns-repeated='16384'/></table:table-row>"
    )
    body = f"<table:table table:name='Prices'>{rows}</table:table><table:table table:name='Empty'/>"
    assert read_document(opendocument("spreadsheet", body), "a.xlsx").text == (
        "## Prices\n\n| Code |  | 0.5% | 0.5% |\n|---|---|---|---|\n|  | x |\n|  | x |"
    )


def test_slides_are_pages() -> None:
    page = (
        "<draw:page><draw:frame><draw:text-box><text:p>Body</text:p></draw:text-box></draw:frame>"
        "<draw:frame presentation:class='title'><draw:text-box><text:p>{title}</text:p>"
        "</draw:text-box></draw:frame><presentation:notes><draw:frame><draw:text-box>"
        "<text:p>Say it slowly.</text:p></draw:text-box></draw:frame></presentation:notes>"
        "</draw:page>"
    )
    body = page.format(title="One") + page.format(title="Two")
    document = read_document(opendocument("presentation", body), "a.odp")
    one = "\n\nBody\n\nNotes: Say it slowly."
    assert document.text == f"# One{one}\n\n# Two{one}"
    assert document.page_starts == (0, len(f"# One{one}\n\n"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (opendocument("text", "", "<m:encryption-data/>"), "encrypted"),
        (opendocument("text", "<unclosed>"), "damaged"),
        (opendocument("graphics", ""), "drawing"),
        (opendocument("text", "<text:p/>"), "no text"),
        (sample.archive({"mimetype": "application/vnd.oasis.opendocument.text"}), "content.xml"),
        (sample.archive({"mimetype": "application/epub+zip"}), "EPUB"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        read_document(data, "a.odt")
