import pytest

from gateway.ensemble.table import asked_cell

HEADS = ("Tool", "Half a day", "Day", "Weekend", "Deposit")
ROW = ("Rotavator", "£28", "£45", "£78", "£120")


@pytest.mark.parametrize(
    ("question", "cell"),
    [
        ("What does the rotavator cost for a weekend?", "£78"),
        ("What deposit do I leave for a rotavator?", "£120"),
        ("What does it cost for a day?", "£45"),  # "Half a day" has only half of its words there
        ("What does half a day cost?", "£28"),
        ("Which tool is it?", "Rotavator"),
        ("What is a rotavator tool?", None),  # the cell repeats the question
        ("What does it weigh?", None),
        ("What is the deposit for a weekend?", None),  # two columns are named
    ],
)
def test_the_cell_of_the_column_that_is_named(question: str, cell: str | None) -> None:
    assert asked_cell(HEADS, ROW, question) == cell


def test_a_column_is_told_by_what_only_it_is_named() -> None:
    heads, row = (
        ("Property", "Northwick V27", "Northwick V32"),
        ("Highest rate", "100 Hz", "144 Hz"),
    )
    assert asked_cell(heads, row, "What is the top rate of the Northwick V32?") == "144 Hz"
    assert asked_cell(heads, row, "What rate has a Northwick?") is None


def test_rows_may_be_shorter_or_longer_than_their_head() -> None:
    assert asked_cell(("A price", "A weight"), ("5",), "What weight?") is None
    assert asked_cell(("A price",), ("5", "6"), "What price?") == "5"


@pytest.mark.parametrize(
    ("question", "cell"),
    [
        ("It says P-121. What should I do?", "wait 20 minutes"),
        ("What does P-121 mean?", "the head is hot"),
        ("Which code is it?", "P-121"),
    ],
)
def test_columns_are_known_by_what_they_are_mostly_called(question: str, cell: str) -> None:
    row = ("P-121", "the head is hot", "wait 20 minutes")
    assert asked_cell(("Code", "Meaning", "Remedy"), row, question) == cell
