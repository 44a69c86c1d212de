"""What labels teach: planted truth is found, noise teaches nothing, and what is held out is."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from clients.evaluation import tuning
from clients.evaluation.calibration import fit, likely, reliability
from clients.evaluation.cases import Case, Place, case_of
from clients.evaluation.comparison import folds_of
from clients.evaluation.dataset import Table
from clients.evaluation.labelled import Labelled, decide
from clients.evaluation.scoring import Rules
from clients.evaluation.tuning import Learnt, Trial, Tuner, weights_by_labels
from gateway.ensemble.confidence import FEATURES, NEUTRAL, SHIPPED, confidence
from gateway.schema.ensemble import EnsembleReport, Source, Vote

QUESTIONS = 36


@pytest.fixture(autouse=True)
def one_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes as long as the next."""
    monkeypatch.setattr(tuning, "SHUFFLES", 1)


def vote(value: str, *, blank: bool = False, passages: Sequence[int] = (1,)) -> Vote:
    return Vote(
        model="m",
        answer="",
        answer_value=value,
        answer_unit="",
        is_blank=blank,
        ref_id=["a"],
        passages=list(passages),
        weight=1.0,
        grounded=True,
        latency_ms=1.0,
    )


def case(values: Sequence[str], evidence: float = 0.5, score: float = 0.5) -> Case:
    return Case(
        votes=tuple(vote(value, blank=not value) for value in values),
        places=tuple((Place("a", score, own=True),) if value else () for value in values),
        seen={"evidence": evidence, "margin": 0.0, "retrieval": score},
    )


def truth(answers: Sequence[str]) -> Table:
    """Questions of which those without an answer cannot be answered."""
    return Table(
        path=Path("truth.csv"),
        header=("id", "answer_value", "ref_id"),
        columns={
            "id": [f"q{at}" for at in range(len(answers))],
            "answer_value": [answer or "is_blank" for answer in answers],
            "ref_id": ["['a']" if answer else "is_blank" for answer in answers],
        },
        lines=list(range(2, len(answers) + 2)),
    )


def tuner(
    answers: Sequence[str], cases: dict[int, list[Case]], *, floors: bool = True, members: int = 3
) -> Tuner:
    labelled = Labelled(truth(answers), Rules(metric="squad"), cases, "majority")
    return Tuner(
        labelled,
        Trial(top_k=next(iter(cases))),
        Learnt(weights=(1.0,) * members, calibration=dict(SHIPPED)),
        "overall",
        floors=floors,
    )


def answers_of(seed: int, answerable: float = 0.6) -> list[str]:
    some = np.random.default_rng(seed).random(QUESTIONS) < answerable
    return [f"v{at}" if known else "" for at, known in enumerate(some)]


# Which questions can be answered, the evidence says plainly, or not at all.
def floors_of(answers: Sequence[str], seed: int, *, telling: bool) -> list[Case]:
    random = np.random.default_rng(seed)
    return [
        case(
            [f"v{at}"] * 3,
            evidence=(0.5 if answer and telling else 0.0) + 0.5 * random.random(),
        )
        for at, answer in enumerate(answers)
    ]


def test_what_is_held_against_a_floor_is_what_the_gateway_holds() -> None:
    asked = replace(
        truth(["a", "b"]),
        columns={**truth(["a", "b"]).columns, "question": ["What is R-77?", "What is this about?"]},
    )
    seen = [case(["x"] * 3, evidence=0.5), case(["x"] * 3, evidence=0.5)]
    seen = [replace(one, seen={**one.seen, "names": 0.5, "kind": 0.0}) for one in seen]
    labelled = Labelled(asked, Rules(metric="squad"), {5: seen}, "majority", "winners", 0.1, 0.3)
    given = labelled.given(5, (1.0, 1.0, 1.0), -1.0)
    # No one sentence speaks of a whole document.
    assert given.standing == pytest.approx([0.5 - 0.05 - 0.3, 1.0])
    # What was not scored speaks neither way.
    assert given.features[0][FEATURES.index("lift")] == NEUTRAL["lift"]


def test_a_planted_floor_is_found() -> None:
    answers = answers_of(1)
    found = tuner(answers, {5: floors_of(answers, 2, telling=True)})
    held = found.hold_out(3, 300)
    assert held.gain.beats
    assert held.gain.mean > 0.2
    trial = found.search(np.arange(QUESTIONS))
    assert 0.4 <= trial.evidence_floor <= 0.6 or trial.confidence_floor > 0
    # The floor is what decides: with it, what cannot be answered is declined.
    scored = found.outcome(trial, found.learn(trial, np.arange(QUESTIONS)))
    assert scored[:, 0].mean() > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_noise_teaches_nothing(seed: int) -> None:
    answers = answers_of(seed)
    held = tuner(answers, {5: floors_of(answers, seed + 10, telling=False)}).hold_out(3, 300)
    assert not held.gain.beats
    assert held.brier is not None
    assert held.right.sum() == sum(map(bool, answers))


def test_the_number_of_passages_that_is_better_is_found() -> None:
    answers = [f"v{at}" for at in range(QUESTIONS)]
    wrong = [case(["x"] * 3) if at % 3 else case([f"v{at}"] * 3) for at in range(QUESTIONS)]
    right = [case([f"v{at}"] * 3) for at in range(QUESTIONS)]
    found = tuner(answers, {5: wrong, 8: right})
    held = found.hold_out(3, 300)
    assert {trial.top_k for trial in held.trials} == {8}
    assert held.gain.mean == pytest.approx(2 / 3, abs=0.02)
    assert found.search(np.arange(QUESTIONS)) == Trial(top_k=8)


def test_a_member_that_knows_weighs_more_than_two_that_do_not() -> None:
    answers = [f"v{at}" for at in range(QUESTIONS)]
    cases = [case(["x", f"v{at}", "x"] if at % 4 else [f"v{at}"] * 3) for at in range(QUESTIONS)]
    found = tuner(answers, {5: cases}, floors=False)
    trial = found.search(np.arange(QUESTIONS))
    learnt = found.learn(trial, np.arange(QUESTIONS))
    assert learnt.weights[1] > learnt.weights[0] + learnt.weights[2]
    assert found.hold_out(3, 300).gain.beats


def test_a_few_answers_show_no_calibration_to_be_truer() -> None:
    answers = [f"v{at}" for at in range(12)]
    held = tuner(answers, {5: [case([f"v{at}"] * 3) for at in range(12)]}).hold_out(3, 50)
    assert held.given.all()
    assert held.brier is None


def test_what_is_held_out_is_not_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answers_of(4)
    found = tuner(answers, {5: floors_of(answers, 5, telling=True)})
    seen: list[NDArray[np.intp]] = []
    search = found.search
    monkeypatch.setattr(
        found, "search", lambda rows, *rest: (seen.append(rows), search(rows, *rest))[1]
    )
    held = found.hold_out(4, 300)
    assert [len(rows) for rows in seen] == [
        QUESTIONS - len(part) for part in folds_of(QUESTIONS, 4)
    ]
    left = np.concatenate([np.setdiff1d(np.arange(QUESTIONS), rows) for rows in seen])
    assert sorted(left) == list(range(QUESTIONS))
    assert len(held.folds) == len(held.trials) == 4


@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=8),
    st.sampled_from(tuning.PULLS),
)
def test_weights_follow_who_is_right(rows: list[list[bool]], pull: float) -> None:
    right = np.array(rows).T
    weights = weights_by_labels(right, pull)
    assert all(weight > 0 for weight in weights)
    order = np.argsort(right.sum(axis=1), kind="stable")
    assert all(weights[low] <= weights[high] + 1e-9 for low, high in pairwise(order))
    assert max(weights_by_labels(right, 0.25)) <= max(weights) + 1e-9
    assert len(set(weights_by_labels(np.repeat(right[:1], 4, axis=0), pull))) == 1


def test_votes_from_passages_under_the_floor_have_no_say() -> None:
    votes = (vote("12"), vote("12"), vote("30"))
    places = ((Place("a", 0.3, own=True),),) * 2 + ((Place("b", 0.6, own=True),),)
    one = Case(votes=votes, places=places, seen={"evidence": 0.5})
    assert decide(one, (1, 1, 1), "majority").value == "12"
    shown = decide(one, (1, 1, 1), "majority", 0.5)
    assert (shown.value, shown.references) == ("30", ["b"])
    assert shown.features["agreement"] == 1
    assert decide(one, (1, 1, 1), "majority", 0.7).value is None
    assert decide(one, (1, 1, 3), "majority").value == "30"


def test_values_that_stand_nowhere_are_declined_and_recorded_ones_believed() -> None:
    votes = (vote("12"), vote("12"))
    assert decide(Case(votes=votes, places=((), ()), seen={}), (1, 1), "majority").value is None
    believed = decide(Case(votes=votes, places=(None, None), seen={}), (1, 1), "majority")
    assert (believed.value, believed.references) == ("12", ["a"])


def test_a_report_becomes_a_case() -> None:
    text = "Hold it for 12 seconds. Yes."
    sources = [
        Source(
            n=n,
            document_id=f"d{n}",
            file_id="f",
            filename="f.txt",
            page=None,
            start=0,
            end=9,
            score=score,
            text=text if n < 3 else "Nothing.",
        )
        for n, score in ((1, 0.4), (2, 0.6), (3, 0.9))
    ]
    report = EnsembleReport(
        strategy="majority",
        execution="parallel",
        explanation="",
        answer_value="12 seconds",
        answer_unit="",
        is_blank=False,
        ref_id=["d1"],
        agreement=1.0,
        confidence=0.5,
        votes=[vote("12 seconds"), vote("40"), vote("yes", passages=[3]), vote("", blank=True)],
        sources=sources,
        features={"evidence": 0.7},
    )
    found = case_of(report)
    assert found.places[0] == (Place("d2", 0.6, own=False), Place("d1", 0.4, own=True))
    assert found.places[1:] == ((), (Place("d3", 0.9, own=True),), ())
    assert (found.given, found.seen) == ("12 seconds", {"evidence": 0.7})
    # The passage that the member cites counts, as long as it is shown.
    assert decide(found, (1, 0, 0, 0), "majority").references == ["d1"]
    assert decide(found, (1, 0, 0, 0), "majority", 0.5).references == ["d2"]


def test_coefficients_are_found_again() -> None:
    random = np.random.default_rng(0)
    features = random.random((4000, len(FEATURES)))
    features[:, FEATURES.index("grounded")] = 0.5  # says nothing
    planted = {"bias": -3.0, "evidence": 4.0, "agreement": 2.0}
    right = random.random(4000) < likely(features, planted, FEATURES)
    found = fit(features, right, FEATURES)
    assert "grounded" not in found
    assert found["bias"] == pytest.approx(-3.0, abs=0.4)
    assert found["evidence"] == pytest.approx(4.0, abs=0.4)
    assert abs(found["margin"]) < 0.3
    held = random.random((4000, len(FEATURES)))
    true = random.random(4000) < likely(held, planted, FEATURES)
    assert reliability(likely(held, found, FEATURES), true).ece < 0.04


@given(
    st.lists(
        st.lists(st.floats(0, 1), min_size=len(FEATURES), max_size=len(FEATURES)),
        max_size=12,
    ),
    st.data(),
)
@settings(max_examples=50)
def test_the_fit_is_finite_and_the_gateway_reads_it_alike(
    rows: list[list[float]], data: st.DataObject
) -> None:
    right = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    features = np.array(rows).reshape(len(rows), len(FEATURES))
    found = fit(features, np.array(right, bool), FEATURES)
    assert all(np.isfinite(value) for value in found.values())
    for row, mine in zip(rows, likely(features, found, FEATURES), strict=True):
        seen = dict(zip(FEATURES, row, strict=True))
        assert mine == pytest.approx(confidence(seen, found))
        assert 0 < mine < 1


def test_reliability_of_what_is_sure_and_of_what_is_not() -> None:
    right = np.array([True] * 8 + [False] * 2)
    honest = reliability(np.full(10, 0.8), right)
    assert honest.ece == pytest.approx(0)
    assert [(one.answers, one.right) for one in honest.bins] == [(10, pytest.approx(0.8))]
    boastful = reliability(np.ones(10), right)
    assert (boastful.ece, boastful.brier) == pytest.approx((0.2, 0.2))
    assert reliability(np.array([]), np.array([], bool)).bins == []
