"""Strategies that need more than the votes: a judge who writes or chooses, and consensus."""

from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from gateway.ensemble.consensus import nearest
from gateway.ensemble.pipeline import Answer, Verdict
from models.engines.fake import FakeEngine
from models.errors import EngineUnavailable
from models.types import ChatPrompt, GenerateDelta, GenerateRequest
from tests.unit.ensemble.passages import ROUTER, WARRANTY, WIFI
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says, writes

JUDGED = replace(SETTINGS, strategy="judge", judge="other")
SPLIT = {
    "a": writes("24", "A guest is signed off after 24 hours.", 3),
    "b": writes("12 seconds", "Hold it for 12 seconds.", 1),
    "c": writes("12 seconds", "Hold it for 12 seconds.", 1),
}


class Judge(FakeEngine):
    def __init__(self, text: str, **options: object) -> None:
        self.requests: list[GenerateRequest] = []

        def reply(request: GenerateRequest) -> str:
            self.requests.append(request)
            return text

        super().__init__(reply=reply, **options)  # type: ignore[arg-type]


class Gone(FakeEngine):
    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        raise EngineUnavailable("gone")
        yield


def judged(text: str, replies: dict[str, str] | str = SPLIT, small: bool = False) -> Rig:
    rig = Rig(replies, JUDGED, hits=(WIFI, ROUTER, WARRANTY), small=small)
    rig.engines["other"] = Judge(text)
    return rig


async def test_a_judge_reads_the_candidates_and_writes_the_answer() -> None:
    rig = judged("Hold the button for 12 seconds [1] until it is white.")
    events = await rig.events()
    assert "".join(e.text for e in events if isinstance(e, Answer)) == (
        "Hold the button for 12 seconds [1] until it is white."
    )
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.text == "Hold the button for 12 seconds [1] until it is white."
    citation = verdict.annotations[0].url_citation
    assert verdict.text[citation.start_index : citation.end_index] == "[1]"
    report = verdict.report
    assert (report.answer_value, report.ref_id, report.is_blank) == (
        "12 seconds",
        ["routers"],
        False,
    )
    engine = rig.engines["other"]
    assert isinstance(engine, Judge)
    (request,) = engine.requests
    assert isinstance(request.prompt, ChatPrompt)
    shown = request.prompt.messages[-1].content
    assert "24 hours" in shown
    assert "The R200 keeps its settings" in shown
    assert request.owner == "ann"


async def test_a_text_without_marks_cites_what_bears_its_value_out() -> None:
    events = await judged("It takes 12 seconds.").events()
    text = "".join(event.text for event in events if isinstance(event, Answer))
    assert text == "It takes 12 seconds. [1]"
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.text == text
    assert verdict.report.ref_id == ["routers"]


async def test_a_judge_may_decline() -> None:
    verdict = await judged(SETTINGS.decline).verdict()
    assert verdict.report.is_blank
    assert (verdict.annotations, verdict.report.ref_id) == ([], [])


async def test_a_small_judge_chooses_among_the_candidates() -> None:
    replies = {"a": says("24 hours", 3), "b": says("12 seconds"), "c": says("white", 1)}
    rig = judged("2", replies, small=True)
    verdict = await rig.verdict()
    assert verdict.report.answer_value == "12 seconds"
    assert verdict.text.endswith("12 seconds. [1]")
    assert "The judge chose that of b" in verdict.report.explanation
    alone = judged("1", says("12 seconds"), small=True)
    await alone.verdict()
    engine = alone.engines["other"]
    assert isinstance(engine, Judge)
    assert engine.requests == []


async def test_without_its_judge_the_vote_stands() -> None:
    rig = judged("")
    rig.engines["other"] = Gone()
    events = await rig.events()
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.report.answer_value == "12 seconds"
    assert "".join(e.text for e in events if isinstance(e, Answer)) == verdict.text
    assert "The judge failed, so the vote stands: gone" in verdict.reasoning


def test_of_texts_that_are_the_same_the_first_is_nearest() -> None:
    likeness = [[1, 1 - 1e-9, 1 - 1e-9], [1 - 1e-9, 1, 1 + 1e-9], [1 - 1e-9, 1 + 1e-9, 1]]
    assert nearest(likeness, [1, 1, 1])[0] == 0


async def test_consensus_takes_the_text_that_is_nearest_to_all_others() -> None:
    replies = {
        "a": writes("24", "A guest is signed off after 24 hours.", 3),
        "b": writes("12 seconds", "To reset the R200 hold the reset button 12 seconds.", 1),
        "c": writes("12 s", "Hold the reset button of the R200 for 12 s.", 1),
    }
    settings = replace(SETTINGS, strategy="consensus", early_stop=False)
    verdict = await Rig(replies, settings, small=False).verdict()
    assert "12" in verdict.report.answer_value
    assert verdict.report.ref_id == ["routers"]
    assert "nearest to all others" in verdict.report.explanation
    blank = await Rig(writes("", "", blank=True), settings, small=False).verdict()
    assert blank.report.is_blank


@pytest.mark.parametrize(
    ("rows", "weights", "expected"),
    [
        ([[1, 0.2, 0.3], [0.2, 1, 0.9], [0.3, 0.9, 1]], [1, 1, 1], 2),
        ([[1, 0.6, 0.2], [0.6, 1, 0.5], [0.2, 0.5, 1]], [1, 1, 1], 1),
        ([[1, 0.6, 0.2], [0.6, 1, 0.3], [0.2, 0.3, 1]], [9, 1, 1], 1),
        ([[1, 0.5], [0.5, 1]], [1, 1], 0),
        ([[1.0]], [1], 0),
    ],
)
def test_the_nearest(rows: list[list[float]], weights: list[float], expected: int) -> None:
    place, agreement = nearest(rows, weights)
    assert place == expected
    assert 0 <= agreement <= 1
