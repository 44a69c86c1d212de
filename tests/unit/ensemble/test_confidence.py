import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.ensemble.confidence import FEATURES, NEUTRAL, SHIPPED, confidence, standing
from tests.unit.ensemble.passages import ROUTER
from tests.unit.ensemble.test_pipeline import SETTINGS, Rig, says

SEEN = st.fixed_dictionaries({name: st.floats(0, 1) for name in FEATURES})
COEFFICIENTS = st.dictionaries(st.sampled_from(["bias", *FEATURES]), st.floats(-1e6, 1e6))


@given(SEEN, COEFFICIENTS)
def test_it_is_a_probability(seen: dict[str, float], coefficients: dict[str, float]) -> None:
    assert 0 <= confidence(seen, coefficients) <= 1


def test_it_is_logistic() -> None:
    assert confidence({"evidence": 0.5}, {"bias": -1.0, "evidence": 2.0}) == 0.5
    assert confidence({"evidence": 0.5}, {}) == 0.5


def test_the_shipped_coefficients_are_of_features_and_speak_for_evidence() -> None:
    assert set(SHIPPED) <= {"bias", *FEATURES}
    weak = {"evidence": 0.35, "margin": 0.0, "names": 0.0, "agreement": 0.5, "retrieval": 0.4}
    strong = {"evidence": 0.8, "margin": 0.2, "names": 1.0, "agreement": 1.0, "retrieval": 0.8}
    assert confidence(weak, SHIPPED) < 0.3 < 0.7 < confidence(strong, SHIPPED)
    likely, unlikely = {**strong, "shown": 0.95}, {**strong, "shown": 0.5}
    assert confidence(unlikely, SHIPPED) < confidence(likely, SHIPPED)


async def test_what_is_too_uncertain_is_withheld() -> None:
    calibration = {"bias": 0.0}
    rig = Rig(says("12 seconds"), replace(SETTINGS, calibration=calibration, confidence_floor=0.5))
    given = (await rig.verdict()).report
    assert (given.is_blank, given.confidence) == (False, 0.5)
    assert set(given.features) <= set(FEATURES)
    assert all(0 <= value <= 1 for value in given.features.values())
    shy = replace(SETTINGS, calibration={"bias": -1.0}, confidence_floor=0.5)
    kept = await Rig(says("12 seconds"), shy).verdict()
    assert kept.report.is_blank
    assert kept.text == SETTINGS.decline
    assert kept.report.confidence == pytest.approx(1 / (1 + 2.718281828**-1), abs=1e-3)
    assert "Too uncertain: confidence 0.27, needed 0.5" in kept.report.explanation


async def test_agreement_and_grounding_are_seen() -> None:
    replies = {"a": says("12 seconds"), "b": says("12 seconds"), "c": says("9 days")}
    settings = replace(SETTINGS, early_stop=False)
    seen = (await Rig(replies, settings, hits=[ROUTER]).verdict()).report.features
    assert seen["agreement"] == pytest.approx(2 / 3, abs=1e-3)
    assert seen["grounded"] == pytest.approx(2 / 3, abs=1e-3)
    assert seen["retrieval"] == 0.7
    assert seen["answered"] == 1


def test_an_unknown_coefficient_is_named() -> None:
    with pytest.raises(ValueError, match="calibration: unknown 'luck'"):
        replace(SETTINGS, calibration={"luck": 1.0})


async def test_names_that_the_best_sentence_lacks_count_against_it() -> None:
    asked = "How long do I hold the button, Ann says for Bob?"
    loose = replace(SETTINGS, evidence_floor=0.0, missing_names=0.0)
    seen = (await Rig(says("12 seconds"), loose).verdict(question=asked)).report
    assert seen.features["names"] == 0.0
    strict = replace(loose, evidence_floor=seen.features["evidence"] - 0.01, missing_names=0.1)
    found = await Rig(says("12 seconds"), strict).verdict(question=asked)
    assert found.report.is_blank
    assert "No sentence speaks to the question" in found.report.explanation
    # What `tune` holds against a floor is worked out from what the report says.
    assert f"(the best {standing(found.report.features, 0.1, 0.0):.3f}," in found.report.explanation


def test_what_was_not_seen_speaks_neither_way() -> None:
    known = {"bias": 0.5, "lift": 3.0, "evidence": 1.0}
    without = confidence({"evidence": 0.4}, known)
    assert without == confidence({"evidence": 0.4, "lift": NEUTRAL["lift"]}, known)
    assert confidence({"evidence": 0.4, "lift": 0.0}, known) < without
    assert confidence({"evidence": 0.4, "lift": 1.0}, known) > without
