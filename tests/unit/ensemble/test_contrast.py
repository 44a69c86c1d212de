"""The winner's value, scored with the passages and without them."""

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.ensemble.confidence import FEATURES
from gateway.schema.ensemble import EnsembleOverride
from models.types import ChatPrompt, EngineStats, GenerateRequest
from tests.unit.ensemble.passages import ROUTER
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says, writes

SCORED = {"shown", "alone", "lift"}


def likelier_with_passages(request: GenerateRequest) -> float:
    assert isinstance(request.prompt, ChatPrompt)
    return -0.5 if "12 seconds" in request.prompt.messages[-1].content else -3.0


def constant(score: float) -> Callable[[GenerateRequest], float]:
    return lambda _: score


def rig(score: float | None = None, **changes: object) -> Rig:
    made = Rig(says("12 seconds"), replace(SETTINGS, **changes), hits=[ROUTER])
    for engine in made.engines.values():
        engine.score = likelier_with_passages if score is None else constant(score)
    return made


async def test_a_value_is_scored_with_the_passages_and_without() -> None:
    verdict = await rig().verdict()
    seen = verdict.report.features
    assert seen["shown"] == pytest.approx(0.95)
    assert seen["alone"] == pytest.approx(0.7)
    assert seen["lift"] == pytest.approx(0.25)
    told = f"a probability of {math.exp(-0.5):.2g} with the passages, of {math.exp(-3):.2g} without"
    assert told in verdict.reasoning


async def test_what_the_passages_make_likelier_is_more_surely_right() -> None:
    calibration = {"bias": -1.0, "lift": 4.0}
    borne_out = (await rig(calibration=calibration).verdict()).report
    no_likelier = (await rig(-1.0, calibration=calibration).verdict()).report
    assert borne_out.confidence > 0.45 > no_likelier.confidence
    assert no_likelier.features["lift"] == 0.0


async def test_no_feature_is_out_of_bounds() -> None:
    seen = (await rig(-60.0).verdict()).report.features
    assert all(0 <= value <= 1 for value in seen.values())
    assert set(seen) == set(FEATURES)


async def test_a_model_that_scores_nothing_answers_all_the_same() -> None:
    made = rig()
    for engine in made.engines.values():
        engine.score = None
    verdict = await made.verdict()
    assert verdict.report.answer_value == "12 seconds"
    assert SCORED.isdisjoint(verdict.report.features)
    assert "without" not in verdict.reasoning


async def test_no_model_is_loaded_to_score(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rig()
    monkeypatch.setattr(made.engines["m"], "stats", lambda: EngineStats(state="unloaded"))
    verdict = await made.verdict()
    assert verdict.report.answer_value == "12 seconds"
    assert SCORED.isdisjoint(verdict.report.features)


async def test_it_can_be_turned_off() -> None:
    assert SCORED.isdisjoint((await rig(contrast=False).verdict()).report.features)
    override = EnsembleOverride(contrast=False)
    assert SCORED.isdisjoint((await rig().verdict(override=override)).report.features)


async def test_what_is_declined_is_not_scored() -> None:
    declined = rig(evidence_floor=1.0)
    assert SCORED.isdisjoint((await declined.verdict()).report.features)


async def test_what_a_larger_model_wrote_is_scored_too() -> None:
    written = writes("12 seconds", "Hold it for 12 seconds.", 1)
    made = Rig(written, SETTINGS, hits=[ROUTER], small=False)
    for engine in made.engines.values():
        engine.score = likelier_with_passages
    assert (await made.verdict()).report.features["lift"] == pytest.approx(0.25)
