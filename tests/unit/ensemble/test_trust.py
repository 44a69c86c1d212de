"""Weights learnt without labels, from question to question."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.ensemble.agreement import Agreement
from gateway.ensemble.settings import EnsembleSettings, Member
from gateway.ensemble.trust import Trust, trust_file
from gateway.ensemble.vote import Ballot

SETTINGS = EnsembleSettings(
    id="e",
    members=tuple(Member(model="m", name=name, weight=weight) for name, weight in
                  (("a", 1.0), ("b", 1.0), ("c", 2.0))),
    learn_weights=True,
)  # fmt: skip


def ballots(*values: str) -> dict[int, Ballot]:
    return {place: Ballot(value=value) for place, value in enumerate(values)}


def weights(trust: Trust) -> list[float]:
    return [member.weight for member in trust.weighed(SETTINGS).members]


def test_who_agrees_with_the_others_weighs_more_and_the_file_s_weights_stay() -> None:
    trust = Trust()
    assert weights(trust) == [1.0, 1.0, 2.0]
    for _ in range(20):
        trust.learn(SETTINGS, ballots("12 s", "12 seconds", "a minute"))
    a, b, c = weights(trust)
    assert a == b > c
    assert c == pytest.approx(2 * 2 * (1 / 3) / 22, rel=1e-3)  # the prior's share, times its 2.0


def test_who_was_not_heard_is_not_judged() -> None:
    trust = Trust()
    trust.learn(SETTINGS, {0: Ballot(value="1"), 1: Ballot(value="1"), 2: Ballot(failed=True)})
    assert weights(trust) == [1.0, 1.0, 2.0]  # who was asked agreed; who was not is like them
    trust.learn(SETTINGS, {2: Ballot(value="1")})
    assert weights(trust) == [1.0, 1.0, 2.0]  # nobody to agree with
    trust.learn(SETTINGS, {0: Ballot(failed=True)})
    assert weights(trust) == [1.0, 1.0, 2.0]


def test_it_is_kept_over_restarts(tmp_path: Path) -> None:
    path = trust_file(tmp_path, "an ensemble/of mine")
    trust = Trust(path)
    for _ in range(5):
        trust.learn(SETTINGS, ballots("1", "1", "2"))
    assert weights(Trust(path)) == weights(trust) != [1.0, 1.0, 2.0]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_model_by_the_same_name_is_another_member(tmp_path: Path) -> None:
    trust = Trust()
    for _ in range(20):
        trust.learn(SETTINGS, ballots("1", "1", "2"))
    first, *others = SETTINGS.members
    changed = replace(SETTINGS, members=(replace(first, model="n"), *others))
    assert trust.weighed(changed).members[0].weight < weights(trust)[0]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"agreed": 3}', b"\xff"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(damage)
    trust = Trust(path)
    assert weights(trust) == [1.0, 1.0, 2.0]
    trust.learn(SETTINGS, ballots("1", "1", "2"))
    assert weights(Trust(path)) == weights(trust)


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    trust = Trust(tmp_path / "file" / "trust.json")
    trust.learn(SETTINGS, ballots("1", "1", "2"))
    assert weights(trust)[2] < 2.0


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), max_size=30))
def test_weights_are_shares_and_the_order_of_questions_does_not_matter(
    questions: list[list[str]],
) -> None:
    known, other = Agreement(), Agreement()
    for row in questions:
        known.learn({name: Ballot(value=value) for name, value in zip("xyz", row, strict=True)})
    for row in reversed(questions):
        other.learn({name: Ballot(value=value) for name, value in zip("xyz", row, strict=True)})
    found = known.weights("xyz")
    assert found == pytest.approx(other.weights("xyz"))
    assert all(0 < weight <= 1 for weight in found)
