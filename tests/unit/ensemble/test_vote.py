import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.vote import Ballot, NoVotes, group, majority, normalise

TEXTS = ["12", "12.0", "12 seconds", "12 s", "12 hours", "1,000", "1001", "2k", "80-90", "80 to 90"]
TEXTS += ["yes", "True", "no", "", "the fan", "fan", "Fan!", "0.1", "0.10005", "0.1001", "0.1002"]
VALUES = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8)
BALLOTS = st.lists(
    st.builds(
        Ballot,
        value=st.sampled_from(TEXTS),
        weight=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        is_blank=st.booleans(),
        failed=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def votes(*values: str) -> list[Ballot]:
    return [Ballot(value=value) for value in values]


def test_the_commonest_value_wins_whatever_its_spelling() -> None:
    outcome = majority(votes("13", "12 seconds", "12 s"))
    assert (outcome.winner, outcome.group) == (1, (1, 2))
    assert outcome.agreement == pytest.approx(2 / 3)
    assert "2 of 3" in outcome.explanation


def test_a_tie_goes_to_the_first_member() -> None:
    assert majority(votes("a1", "b1", "c1")).winner == 0
    assert majority(votes("c1", "b1", "a1")).winner == 0
    assert majority(votes("x", "b1", "c1", "c1", "b1")).winner == 1


def test_weights_count() -> None:
    ballots = [Ballot(value="a1", weight=3.0), Ballot(value="b1"), Ballot(value="b1")]
    assert majority(ballots).winner == 0


def test_blanks_vote_together_and_can_win() -> None:
    ballots = [Ballot(value="x"), Ballot(value="", is_blank=True), Ballot(value="n/a")]
    outcome = majority(ballots)
    assert outcome.is_blank
    assert outcome.group == (1, 2)


def test_failed_votes_do_not_count() -> None:
    outcome = majority([Ballot(failed=True), Ballot(failed=True), Ballot(value="x")])
    assert (outcome.winner, outcome.agreement) == (2, 1.0)
    assert "2 failed" in outcome.explanation


def test_no_vote_that_counts_is_an_error() -> None:
    with pytest.raises(NoVotes):
        majority([Ballot(failed=True), Ballot(value="x", weight=0.0)])
    with pytest.raises(NoVotes):
        majority([])


def test_a_number_without_a_unit_goes_with_the_commonest_unit() -> None:
    values = [normalise(text) for text in ("12", "12 hours", "12 s", "12 seconds")]
    assert group(values) == [(0, 2, 3), (1,)]


@given(VALUES, st.randoms())
def test_grouping_does_not_depend_on_the_order(texts: list[str], shuffle: random.Random) -> None:
    order = list(range(len(texts)))
    shuffle.shuffle(order)
    values = [normalise(text) for text in texts]
    straight = {frozenset(places) for places in group(values)}
    shuffled = group([values[at] for at in order])
    # Equal values may trade places, so groups are compared by what is in them.
    content = sorted(sorted(map(str, (values[at] for at in places))) for places in straight)
    other = sorted(sorted(str(values[order[at]]) for at in places) for places in shuffled)
    assert content == other


@given(VALUES)
def test_grouping_is_a_partition(texts: list[str]) -> None:
    groups = group([normalise(text) for text in texts])
    assert sorted(at for places in groups for at in places) == list(range(len(texts)))


@given(BALLOTS)
def test_agreement_is_a_share_and_the_winner_counts(ballots: list[Ballot]) -> None:
    if not any(not ballot.failed and ballot.weight > 0 for ballot in ballots):
        with pytest.raises(NoVotes):
            majority(ballots)
        return
    outcome = majority(ballots)
    assert 0 < outcome.agreement <= 1
    assert outcome.winner == outcome.group[0]
    assert all(not ballots[at].failed and ballots[at].weight > 0 for at in outcome.group)


@given(st.sampled_from(TEXTS), st.integers(1, 8))
def test_unanimous_votes_agree_wholly(text: str, members: int) -> None:
    outcome = majority(votes(*[text] * members))
    assert (outcome.agreement, outcome.winner) == (1.0, 0)


@given(VALUES, st.randoms())
def test_who_wins_depends_on_the_order_only_in_a_tie(
    texts: list[str], shuffle: random.Random
) -> None:
    order = list(range(len(texts)))
    shuffle.shuffle(order)
    straight = majority(votes(*texts))
    other = majority(votes(*[texts[at] for at in order]))
    assert other.agreement == pytest.approx(straight.agreement)
    sizes = sorted(len(places) for places in group([normalise(text) for text in texts]))
    if sizes.count(sizes[-1]) == 1:
        assert sorted(texts[at] for at in straight.group) == sorted(
            texts[order[at]] for at in other.group
        )
