"""Charts, diagrams and forms: what a reader sees of them, and no other text of the file says."""

import io

import pytest

from retrieval.formats.numbers import shown_number
from retrieval.formats.read import read_document
from tests.unit.retrieval import sample_files as sample

DRAWING = "http://schemas.openxmlformats.org/drawingml/2006"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def test_a_chart_is_a_table() -> None:
    pptx = pytest.importorskip("pptx")
    data = pytest.importorskip("pptx.chart.data").CategoryChartData(number_format="0%")
    column = pytest.importorskip("pptx.enum.chart").XL_CHART_TYPE.COLUMN_CLUSTERED
    data.categories = ["North", "South"]
    data.add_series("2024", (0.25, 0.5))
    data.add_series("2025", (0.75, None))
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    chart = slide.shapes.add_chart(column, 0, 0, 9, 9, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Sales"
    file = io.BytesIO()
    deck.save(file)
    assert read_document(file.getvalue(), "a.pptx").text == (
        "Sales\n\n|  | 2024 | 2025 |\n|---|---|---|\n| North | 25% | 75% |\n| South | 50% |"
    )


def diagram(element: str) -> str:
    """A shape that shows the diagram of relation `d`."""
    return (
        f"<{element} xmlns:a='{DRAWING}/main'><a:graphicData uri='{DRAWING}/diagram'>"
        f"<dgm:relIds xmlns:dgm='{DRAWING}/diagram' xmlns:r='{RELATIONS}' r:dm='d'/>"
        f"</a:graphicData></{element}>"
    )


def point(name: str, text: str = "") -> str:
    said = f"<dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t>" if text else ""
    return f"<dgm:pt modelId='{name}'>{said}</dgm:pt>"


def line(parent: str, child: str, place: int) -> str:
    return f"<dgm:cxn srcId='{parent}' destId='{child}' srcOrd='{place}'/>"


def test_a_diagram_is_a_list_in_its_order() -> None:
    model = (
        f"<dgm:dataModel xmlns:dgm='{DRAWING}/diagram' xmlns:a='{DRAWING}/main'><dgm:ptLst>"
        f"{point('1', 'Ship')}{point('2', 'Plan')}{point('3', 'Ask users')}{point('0')}"
        f"</dgm:ptLst><dgm:cxnLst>{line('0', '1', 1)}{line('0', '2', 0)}{line('2', '3', 0)}"
        f"{line('3', '2', 0)}</dgm:cxnLst></dgm:dataModel>"
    )
    body = f"<w:p><w:r><w:t>How we work</w:t></w:r><w:r>{diagram('w:drawing')}</w:r></w:p>"
    data = sample.docx(body, diagram=model)
    assert read_document(data, "a.docx").text == "How we work\n\n- Plan\n- Ask users\n- Ship"


def test_a_damaged_diagram_does_not_cost_the_file() -> None:
    body = f"<w:p><w:r><w:t>How we work</w:t></w:r><w:r>{diagram('w:drawing')}</w:r></w:p>"
    assert read_document(sample.docx(body, diagram="<broken"), "a.docx").text == "How we work"


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        (0.07, "0%", "7%"),
        (0.1234, "0.0%;[Red]-0.0%", "12.34%"),
        (12.0, '0" % of all"', "12"),
        (5, "0", "5"),
        (37261, "m/d/yyyy", "2002-01-05"),
        (37261, '[$-409]d"th of" mmm', "2002-01-05"),
        (-1.5, "yyyy", "-1.5"),
        (1e300, "yyyy", "1e+300"),
        (3.0, '0 "days"', "3"),
        (2.5, None, "2.5"),
    ],
)
def test_numbers_as_they_are_meant(value: float, number_format: str | None, shown: str) -> None:
    assert shown_number(value, number_format) == shown


def test_what_was_filled_into_a_form_is_read() -> None:
    widget = "/Subtype/Widget"
    text = f"{widget}/FT/Tx/T(city)"
    data = sample.form_pdf(
        [
            f"{text}/TU(Your town)/V(Saint Helier)",
            f"{widget}/FT/Tx/T(name)/V<FEFF00E9>",
            f"{widget}/FT/Tx/T(secret)/V(1234)/Ff 8192",
            f"{widget}/FT/Tx/T(empty)",
            f"{widget}/FT/Btn/T(agreed)/V/Yes/AS/Yes/AP<</N<</Yes 4 0 R/Off 4 0 R>>>>",
            f"{widget}/FT/Btn/T(refused)/V/Off/AS/Off/AP<</N<</Yes 4 0 R/Off 4 0 R>>>>",
            "/Subtype/FreeText/Contents(Paid on 3 May)",
        ],
        text="Form A",
    )
    assert read_document(data, "a.pdf").text == (
        "Form A\n\nYour town: Saint Helier\nname: é\nagreed: Yes\nPaid on 3 May"
    )
