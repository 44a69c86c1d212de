from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from gateway.ensemble.evidence import Sentence
from gateway.ensemble.pipeline import Ensemble
from gateway.ensemble.whole import asks_of_whole, named, opening_first
from retrieval.types import Hit
from tests.unit.ensemble.passages import ROUTER, WARRANTY, hit
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, writes


@pytest.mark.parametrize(
    "question",
    [
        "What is this paper about?",
        "What is routers.md about?",
        "What's the routers handbook about",
        "Summarise the warranty document.",
        "Give me an overview of routers.md",
        "What are the main findings of the study?",
        "What does this report discuss?",
        "What is this about?",
        "What does it cover?",
        "Worum geht es in dem Handbuch?",
        "De quoi parle cet article ?",
        "¿De qué trata el documento?",
        "这篇论文讲了什么？",
        "この論文を要約して",
    ],
)
def test_questions_about_a_whole(question: str) -> None:
    assert asks_of_whole(question)


@pytest.mark.parametrize(
    "question",
    [
        "How long do I hold the reset button of the R200?",
        "What is the warranty of a monitor?",
        "What does error P-130 mean?",
        "Who wrote the paper on water use?",
        "What is known about the router's lamp?",
        "My notebook says L-222. What is it complaining about?",
    ],
)
def test_questions_for_a_fact(question: str) -> None:
    assert not asks_of_whole(question)


NAMES = ["routers.md", "warranty_and_returns.md", "li2025_energy-use.pdf", "wifi.md", ""]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is routers.md about?", 0),
        ("What is the paper on router resets about?", 0),
        ("Summarise the document on warranty and returns", 1),
        ("Summarise Li 2025 on energy use", 2),
        ("Summarise li2025_energy-use.pdf and wifi.md", None),
        ("What is this paper about?", None),
    ],
)
def test_the_document_that_is_named(question: str, expected: int | None) -> None:
    assert named(question, NAMES) == expected
    assert named(question, []) is None


async def test_a_whole_document_is_read_from_its_openings() -> None:
    openings = [
        hit("The routers handbook tells how routers are reset.", "routers.md", chunk_id=11),
        hit("This part is about lamps.", "routers.md", chunk_id=12, start=60, heading="Lamps"),
    ]
    chosen: list[tuple[int | None, str | None]] = []

    async def overview(
        choose: Callable[[Sequence[str]], int | None],
        *,
        owner: str,
        stores: Sequence[str],
        limit: int,
        file_id: str | None,
    ) -> list[Hit]:
        assert (owner, stores) == ("ann", ("handbook",))
        chosen.append((choose(["wifi.md", "routers.md"]), file_id))
        return openings[:limit]

    reply = writes("how routers are reset", "It tells how routers are reset.", 1)
    settings = replace(SETTINGS, evidence_floor=0.99)
    rig = Rig(reply, settings, hits=[ROUTER, WARRANTY], small=False)
    rig.ensemble = Ensemble(
        settings, rig._engine, rig._search, rig._likeness, lambda model: False, overview=overview
    )
    report = (await rig.verdict("What is the routers document about?")).report
    assert chosen == [(1, "file-routers.md")]
    assert [source.text for source in report.sources] == [each.text for each in openings]
    assert report.ref_id == ["routers"]
    assert not report.is_blank
    await rig.verdict("How long do I hold the reset button?")
    assert len(chosen) == 1


def test_how_a_document_begins_says_what_it_is_about() -> None:
    texts = [
        "ROUTERS",
        "This chapter covers the two routers.",
        "It is short on purpose, dear reader.",
    ]
    sentences = [Sentence(1, at, at + 9, text, 0.1) for at, text in enumerate(texts)]
    best = Sentence(2, 0, 9, "What is a routers chapter about?", 0.6)
    found = opening_first([best, *sentences], 1)
    assert [one.text for one in found] == [texts[1], best.text, texts[0], texts[2]]
    assert found[0].score == best.score
    assert opening_first([], 3) == []


def test_what_a_document_is_about_its_rows_do_not_say() -> None:
    row = Sentence(
        1, 0, 9, "Tool: Hedge trimmer; Day: £14; Deposit: £30", 0.4, heads=("Tool", "Day")
    )
    prose = Sentence(1, 9, 20, "This list has the prices of all tools.", 0.3)
    assert opening_first([row, prose], 1)[0].text == prose.text
    assert opening_first([row], 1)[0].text == row.text
