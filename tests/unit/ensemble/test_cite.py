from gateway.ensemble.answer import MemberAnswer
from gateway.ensemble.cite import cite, compose, sources
from gateway.ensemble.prompt import Passage, number_passages
from retrieval.types import Hit
from tests.unit.ensemble.passages import ROUTER, WARRANTY, WIFI, hit, ranked

QUESTION = "How long do I hold the reset button of the R200?"


def cited(value: str, passages: tuple[int, ...], hits: list[Hit], question: str = QUESTION):
    shown = number_passages(hits)
    answer = MemberAnswer(answer_value=value, passages=passages)
    return cite(answer, shown, ranked(question, shown))


def answer(value: str, text: str, unit: str = "") -> MemberAnswer:
    return MemberAnswer(answer_value=value, answer_unit=unit, passages=(1,), answer=text)


def test_the_sentence_with_the_value_becomes_the_answer() -> None:
    found = cited("12 seconds", (1,), [ROUTER, WIFI])
    text = compose(answer("12 seconds", ""), found, extractive=True)
    assert text.text == "To reset the R200, hold the reset button for 12 seconds. [1]"
    (annotation,) = text.annotations
    citation = annotation.url_citation
    assert text.text[citation.start_index : citation.end_index] == "[1]"
    assert (citation.title, citation.url) == ("routers.md", "/v1/files/file-routers.md/content")
    assert text.ref_id == ["routers"]


def test_a_citation_moves_to_where_the_value_stands() -> None:
    found = cited("12 seconds", (2,), [ROUTER, WIFI])
    assert [c.passage.n for c in found] == [1]


def test_of_many_places_the_one_about_the_question_is_taken() -> None:
    text = "Wait 12 seconds before printing. Hold the reset button of the R200 for 12 seconds."
    (found,) = cited("12 seconds", (1,), [hit(text)])
    assert text[found.evidence.sentence_start :].startswith("Hold the reset")


def test_a_value_that_stands_nowhere_is_not_cited() -> None:
    assert cited("13 seconds", (1,), [ROUTER, WIFI]) == ()


def test_a_passage_about_another_device_grounds_nothing() -> None:
    assert cited("12 seconds", (1,), [ROUTER], "How long do I hold the R450's button?") == ()


def test_the_page_stands_in_the_title() -> None:
    found = cited("48", (1,), [WARRANTY], "How many months of warranty has a monitor?")
    assert (
        compose(answer("48", ""), found, extractive=True).annotations[0].url_citation.title
        == "warranty.pdf (page 3)"
    )


def test_markdown_is_stripped_and_long_rows_are_cut_around_the_value() -> None:
    row = "| P-150 | the **waste ink pad** is full | " + "and so on " * 60 + "|"
    (found,) = cited("waste ink pad", (1,), [hit(f"{row}\n")], "What is P-150?")
    text = compose(answer("waste ink pad", ""), (found,), extractive=True).text
    assert text.startswith("P-150 | the waste ink pad is full |")
    assert text.endswith("… [1]")
    assert len(text) < 360


def test_a_row_is_shown_with_the_names_of_its_columns() -> None:
    table = "| Code | Meaning |\n|---|---|\n| P-150 | waste ink pad is full |"
    found = cited("waste ink pad", (1,), [hit(table)], "What is P-150?")
    text = compose(answer("waste ink pad", ""), found, extractive=True).text
    assert text == "Code: P-150; Meaning: waste ink pad is full [1]"


def test_a_writer_s_own_words_are_kept_and_its_value_is_in_them() -> None:
    found = cited("12 seconds", (1,), [ROUTER])
    kept = compose(answer("12", "Hold it for 12 seconds [3].", "s"), found, extractive=False)
    assert kept.text == "Hold it for 12 seconds. [1]"
    added = compose(answer("12", "Hold it for a while.", "s"), found, extractive=False)
    assert added.text == "12 s: Hold it for a while. [1]"
    alone = compose(answer("12", "", "s"), found, extractive=False)
    assert alone.text == "12 s [1]"


def test_every_citation_is_annotated_and_documents_are_named_once() -> None:
    other = hit("Hold the R200's reset for 12 seconds.", "routers.md", start=500)
    found = cited("12 seconds", (1, 2), [ROUTER, other])
    text = compose(answer("12 seconds", "12 seconds."), found, extractive=False)
    assert {
        text.text[a.url_citation.start_index : a.url_citation.end_index] for a in text.annotations
    } == {"[1]", "[2]"}
    assert text.ref_id == ["routers"]


def test_yes_rests_on_the_sentence_nearest_to_the_question() -> None:
    question = "Do guests see printers?"
    found = cited("No", (1,), [WIFI], question)
    assert [c.passage.n for c in found] == [1]
    text = compose(answer("No", "Guests do not see them."), found, extractive=False)
    assert text.text == "No: Guests do not see them. [1]"
    assert cited("No", (), [WIFI], question) == ()


def test_sources_are_what_was_shown() -> None:
    shown: tuple[Passage, ...] = number_passages([WIFI, ROUTER])
    assert [(s.n, s.filename, s.text, s.cited) for s in sources(shown, {2})] == [
        (1, "routers.md", ROUTER.text, False),
        (2, "wifi.md", WIFI.text, True),
    ]
