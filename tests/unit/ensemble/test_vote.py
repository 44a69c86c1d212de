import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.vote import (
    Ballot,
    NoVotes,
    Strategy,
    agreed_references,
    group,
    majority,
    normalise,
    vote,
)

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


def test_yes_goes_with_1_where_somebody_says_1() -> None:
    values = [normalise(text) for text in ("True", "1", "no", "0", "yes")]
    assert group(values) == [(0, 1, 4), (2, 3)]
    assert group([normalise(text) for text in ("yes", "12 s")]) == [(0,), (1,)]


def test_the_first_value_wins_over_every_blank() -> None:
    ballots = [Ballot(failed=True), Ballot(is_blank=True), *votes("b1", "c1", "c1")]
    outcome = vote(ballots, "first_non_blank")
    assert (outcome.winner, outcome.group, outcome.is_blank) == (2, (2,), False)
    assert outcome.agreement == pytest.approx(1 / 4)
    assert vote([Ballot(failed=True), Ballot(is_blank=True)], "first_non_blank").is_blank


def test_a_blank_counts_less_where_weights_count() -> None:
    blank = Ballot(is_blank=True)
    ballots = [blank, blank, blank, *votes("x1", "x1")]
    assert majority(ballots).is_blank
    assert not vote(ballots, "weighted").is_blank
    assert vote([blank, blank, *votes("x1")], "weighted").is_blank


def test_of_the_winners_the_commonest_spelling_answers() -> None:
    ballots = votes("the Fan!", "fan", "Fan", "12", "12")
    assert majority(ballots).winner == 0
    assert vote(ballots, "weighted").winner == 1
    heavy = [Ballot(value="the fan", weight=1.0), Ballot(value="fan", weight=1.5)]
    assert vote(heavy, "weighted").winner == 1


def test_grounding_breaks_ties_and_does_not_outvote() -> None:
    def ballot(value: str, grounded: bool | None) -> Ballot:
        return Ballot(value=value, grounded=grounded)

    tie = [ballot("a1", False), ballot("b1", True)]
    assert vote(tie, "weighted").winner == 0
    assert vote(tie, "grounded").winner == 1
    assert vote([ballot("a1", None), ballot("b1", True)], "grounded").winner == 0
    assert (
        vote([ballot("a1", False), ballot("a1", False), ballot("b1", True)], "grounded").winner == 0
    )


def test_references_that_winners_agree_on() -> None:
    cited = [["a", "b"], ["a"], ["c", "a"]]
    assert agreed_references(cited, [1, 1, 1]) == ["a"]
    assert agreed_references(cited, [3, 1, 1]) == ["a", "b"]
    assert agreed_references(cited, [1, 1, 1], "winner") == ["a", "b"]
    assert agreed_references(cited, [1, 1, 1], "union") == ["a", "b", "c"]
    assert agreed_references([["a"], ["b"], ["c"]], [1, 1, 1]) == ["a"]  # no agreement
    assert agreed_references([[], ["b"]], [1, 1]) == ["b"]
    assert agreed_references([], []) == []


@given(BALLOTS, st.sampled_from(["weighted", "grounded"]), st.randoms())
def test_what_wins_depends_on_the_order_only_in_a_tie(
    ballots: list[Ballot], strategy: Strategy, shuffle: random.Random
) -> None:
    # Weights that no two sums share, discounted or not, so that nothing is a tie.
    ballots = [
        Ballot(
            value=one.value, is_blank=one.is_blank, weight=1 + 0.83**at / 7, grounded=at % 2 == 0
        )
        for at, one in enumerate(ballots)
    ]
    order = list(range(len(ballots)))
    shuffle.shuffle(order)
    straight, other = vote(ballots, strategy), vote([ballots[at] for at in order], strategy)
    assert {order[at] for at in other.group} == set(straight.group)
    assert order[other.winner] == straight.winner


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


@given(BALLOTS, st.sampled_from(get_args(Strategy)))
def test_agreement_is_a_share_and_the_winner_counts(
    ballots: list[Ballot], strategy: Strategy
) -> None:
    if not any(not ballot.failed and ballot.weight > 0 for ballot in ballots):
        with pytest.raises(NoVotes):
            vote(ballots, strategy)
        return
    outcome = majority(ballots)
    assert outcome.winner == outcome.group[0]
    outcome = vote(ballots, strategy)
    assert 0 < outcome.agreement <= 1
    assert outcome.winner in outcome.group
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
