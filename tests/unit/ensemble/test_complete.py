from msgspec.structs import replace

from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import Citation
from gateway.ensemble.complete import completed, whole_list
from gateway.ensemble.evidence import Sentence
from gateway.ensemble.ground import ground
from gateway.ensemble.prompt import Passage, number_passages
from tests.unit.ensemble.passages import ROUTER

TEXT = "You get these two:\n\n- ear plugs\n- fuel, if any."
LIST = Sentence(
    1,
    0,
    len(TEXT),
    "You get these two: ear plugs; fuel, if any",
    0.6,
    items=("ear plugs", "fuel, if any."),
)
ITEM = Sentence(1, 22, 31, "ear plugs", 0.7)
TABLE = "| Lamp | Colour |\n|---|---|\n| S4 | light blue |"
ROW = Sentence(
    1, TABLE.index("| S4"), len(TABLE), "Lamp: S4; Colour: light blue", 0.6, ("Lamp", "Colour")
)


def passages(text: str) -> tuple[Passage, ...]:
    return number_passages([replace(ROUTER, text=text)])


def said(value: str) -> MemberAnswer:
    return MemberAnswer(answer_value=value, passages=(1,))


def test_a_value_of_a_list_becomes_all_of_its_items_cited_as_a_whole() -> None:
    found = whole_list(said("these"), passages(TEXT), [LIST, ITEM])
    assert found is not None
    answer, (citation,) = found
    assert answer.answer_value == "ear plugs; fuel, if any"
    assert (citation.evidence.start, citation.evidence.end) == (0, len(TEXT))
    assert citation.sentence == LIST.text


def test_an_item_that_fits_better_than_its_list_is_the_value() -> None:
    assert whole_list(said("ear plugs"), passages(TEXT), [ITEM, LIST]) is None


def test_a_number_that_introduces_a_list_is_the_value() -> None:
    assert whole_list(said("two"), passages(TEXT), [LIST, ITEM]) is None


def test_the_cell_that_is_asked_for_stands_for_the_row() -> None:
    assert row_completed("S4", "What colour is the S4?", max_words=5) == "light blue"


def test_a_cell_that_is_too_long_does_not_stand_for_what_was_said_of_it() -> None:
    assert row_completed("light", "What colour is the S4?", max_words=1) is None


def test_of_a_cell_with_several_quantities_the_one_that_is_asked_for() -> None:
    text = "| Device | Power supply |\n|---|---|\n| R450 | 54 volts, 1.2 amperes |"
    at = text.index("| R450")
    row = Sentence(1, at, len(text), "Device: R450; …", 0.6, heads=("Device", "Power supply"))
    evidence = ground("1.2 amperes", text)
    assert evidence is not None
    citation = Citation(passages(text)[0], evidence, row.text)
    question = "What is the voltage of the R450's power supply?"
    assert completed(citation, [row], question, max_words=9) == "54 volts"


def row_completed(value: str, question: str, max_words: int) -> str | None:
    evidence = ground(value, TABLE)
    assert evidence is not None
    citation = Citation(passages(TABLE)[0], evidence, ROW.text)
    return completed(citation, [ROW], question, max_words)
