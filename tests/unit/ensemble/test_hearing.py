"""Who is asked, who is waited for, and with how many passages."""

import json
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from gateway.ensemble.hearing import stages
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.schema.ensemble import EnsembleOverride
from models.engines.fake import FakeEngine
from models.errors import ContextOverflow, EngineUnavailable
from models.types import ChatPrompt, GenerateDelta, GenerateRequest
from tests.unit.ensemble.passages import hit
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says, writes


class Narrow(FakeEngine):
    """Reads so many passages and no more."""

    def __init__(self, room: int, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.room = room
        self.asked: list[int] = []

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        assert isinstance(request.prompt, ChatPrompt)
        shown = request.prompt.messages[-1].content.count("\nThe ")
        self.asked.append(shown)
        if shown > self.room:
            raise ContextOverflow("too long", prompt_tokens=shown * 100, context=self.room * 100)
        async for delta in super().generate(request):
            yield delta


def panel(*members: Member, **options: object) -> EnsembleSettings:
    return replace(SETTINGS, members=members, **options)


def cascade(**options: object) -> EnsembleSettings:
    return panel(
        Member(model="m", name="a", instruction="I am a."),
        Member(model="m", name="b", instruction="I am b."),
        Member(model="other", name="c", instruction="I am c.", stage=2),
        **options,
    )


async def test_who_cannot_change_the_outcome_is_not_waited_for() -> None:
    replies = {"a": says("12 seconds"), "b": says("12 seconds"), "c": says("12 seconds " * 9)}
    rig = Rig(replies)
    report = (await rig.verdict()).report
    assert [vote.stopped for vote in report.votes] == [False, False, True]
    assert [vote.error for vote in report.votes] == [None] * 3
    assert report.explanation == "2 of 2 votes for “12 seconds”."
    assert rig.engines["m"].stats().running == 0
    whole = await Rig(replies).verdict(override=EnsembleOverride(early_stop=False))
    assert not any(vote.stopped for vote in whole.report.votes)


async def test_a_vote_that_is_there_already_counts() -> None:
    report = (await Rig(says("12 seconds")).verdict()).report
    assert not any(vote.stopped for vote in report.votes)
    assert report.explanation == "3 of 3 votes for “12 seconds”."


async def test_a_split_vote_waits_for_the_last() -> None:
    rig = Rig({"a": says("24 hours", 3), "b": says("12 seconds"), "c": says("12 seconds")})
    report = (await rig.verdict()).report
    assert not any(vote.stopped for vote in report.votes)


@pytest.mark.parametrize("agree", [True, False])
async def test_a_later_stage_is_asked_only_on_disagreement(agree: bool) -> None:
    second = says("12 seconds") if agree else says("24 hours", 3)
    rig = Rig({"a": says("12 seconds"), "b": second, "c": says("12 seconds")}, cascade())
    report = (await rig.verdict()).report
    assert len(rig.requests) == (2 if agree else 3)
    assert report.votes[2].stopped is agree
    assert report.answer_value == "12 seconds"


async def test_a_later_stage_is_asked_where_what_all_say_stands_nowhere() -> None:
    replies = {"a": says("9 minutes"), "b": says("9 minutes"), "c": says("12 seconds")}
    rig = Rig(replies, cascade(early_stop=False))
    await rig.verdict()
    assert len(rig.requests) == 3


def test_stages_are_asked_by_number() -> None:
    members = [Member(model="m", stage=stage) for stage in (2, 1, 2)]
    assert stages(members) == [(1,), (0, 2)]


async def test_below_the_quorum_there_is_no_answer() -> None:
    rig = Rig({"a": says("12 seconds"), "b": "oops", "c": "oops"}, replace(SETTINGS, quorum=2))
    with pytest.raises(EngineUnavailable, match=r"1 of 3 members answered, and 2 have to"):
        await rig.verdict()
    with pytest.raises(ValueError, match="quorum"):
        replace(SETTINGS, quorum=4)


async def test_who_reads_less_is_asked_again_with_the_best_passages() -> None:
    hits = [
        hit(f"The R200 button number {n} is held for {n} seconds.", f"{n}.md", score=n / 10)
        for n in range(4, 10)
    ]
    rig = Rig(writes("9 seconds", "9 seconds", 6), hits=hits, small=False)
    settings = replace(SETTINGS, members=SETTINGS.members[:1], top_k=6)
    rig.ensemble.settings = settings
    engine = rig.engines["m"] = Narrow(2, reply=lambda _: writes("9 seconds", "9 seconds", 6))
    verdict = await rig.verdict()
    assert engine.asked[0] == 6
    assert engine.asked[-1] <= 2
    assert verdict.report.answer_value == "9 seconds"
    assert len(verdict.report.sources) == 6
    assert "too long for a; asking again with the best" in verdict.reasoning


async def test_a_prompt_that_never_fits_is_the_member_s_error() -> None:
    rig = Rig("", small=False)
    rig.engines["m"] = Narrow(0)
    with pytest.raises(ContextOverflow):
        await rig.verdict()


async def test_where_nobody_finds_an_answer_more_passages_are_shown() -> None:
    hits = [hit(f"The R200 has a reset button, number {n}.", f"{n}.md") for n in range(9)]
    rig = Rig(
        writes("", "", blank=True), replace(SETTINGS, top_k=2, max_top_k=7), hits, small=False
    )
    verdict = await rig.verdict()
    assert [search["limit"] for search in rig.searches] == [2, 4, 7]
    assert verdict.report.is_blank
    assert "looking at 7 passages" in verdict.reasoning
    assert verdict.usage.prompt_tokens > 0
    few = Rig(writes("", "", blank=True), replace(SETTINGS, top_k=2), hits[:1], small=False)
    await few.verdict()
    assert len(few.searches) == 1


async def test_members_answer_in_the_client_s_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"seconds": {"type": "integer"}, "colour": {"type": "string"}},
        "required": ["seconds", "colour"],
        "additionalProperties": False,
    }
    rig = Rig(
        {
            "a": '{"seconds": 12, "colour": "red"}',
            "b": '{"seconds": 12, "colour": "white"}',
            "c": '{"seconds": 9, "colour": "white"}',
        }
    )
    verdict = await rig.verdict(schema=json.dumps(schema))
    assert json.loads(verdict.text) == {"seconds": 12, "colour": "white"}
    assert {r.constraint.grammar for r in rig.requests if r.constraint} == {json.dumps(schema)}
    assert verdict.report.ref_id == ["routers"]
    assert [vote.grounded for vote in verdict.report.votes] == [False, True, False]
    declined = await Rig("{}", hits=[]).verdict(schema=json.dumps(schema))
    assert (declined.refused, declined.text) == (True, SETTINGS.decline)


async def test_the_deliberation_can_be_kept_back() -> None:
    verdict = await Rig(says("12 seconds")).verdict(override=EnsembleOverride(deliberation=False))
    assert verdict.reasoning == ""
