from hypothesis import given
from hypothesis import strategies as st

from gateway.ensemble.early import agreed, settled
from gateway.ensemble.values import normalise
from gateway.ensemble.vote import Ballot, vote
from gateway.schema.ensemble import Strategy

VALUES = ["5", "5 m", "5 km", "5.001 m", "5.004", "12 seconds", "blue", ""]
BALLOTS = st.builds(
    Ballot,
    value=st.sampled_from(VALUES),
    weight=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    failed=st.booleans(),
    grounded=st.booleans(),
)


@given(
    st.sampled_from(["majority", "weighted", "grounded"]),
    st.lists(BALLOTS, max_size=6),
    st.lists(BALLOTS, max_size=4),
    st.data(),
)
def test_what_is_settled_no_later_vote_changes(
    strategy: Strategy, heard: list[Ballot], later: list[Ballot], data: st.DataObject
) -> None:
    if not settled(heard, [ballot.weight for ballot in later], strategy):
        return
    before = vote(heard, strategy)
    winner = heard[before.winner]
    tagged = [(ballot, True) for ballot in heard] + [(ballot, False) for ballot in later]
    order = data.draw(st.permutations(tagged))
    after = vote([ballot for ballot, _ in order], strategy)
    values = {normalise(order[at][0].value) for at in after.group if not order[at][0].failed}
    assert normalise(winner.value) in values or before.is_blank == after.is_blank is True


def test_half_of_the_weight_settles_nothing() -> None:
    two = [Ballot(value="blue"), Ballot(value="blue")]
    assert settled(two, [1.0])
    assert not settled(two, [1.0, 1.0])
    assert not settled([Ballot(value="blue"), Ballot(value="blue", failed=True)], [1.0])
    assert not settled([], [])
    blank = [Ballot(is_blank=True), Ballot(is_blank=True), Ballot(value="blue")]
    assert settled(blank, [])
    assert not settled([*blank, Ballot(is_blank=True), Ballot(value="red")], [], "weighted")
    assert not settled(two, [], "first_non_blank")


def test_values_that_are_only_near_settle_nothing() -> None:
    # "5 km" would take the unit of "5" with it.
    assert not settled([Ballot(value="5"), Ballot(value="5 m")], [1.0])


def test_agreement_takes_two_and_an_answer() -> None:
    assert agreed([Ballot(value="3,500"), Ballot(value="3.5k"), Ballot(failed=True)]) is False
    assert agreed([Ballot(value="blue"), Ballot(value="The blue")])
    assert not agreed([Ballot(value="blue")])
    assert not agreed([Ballot(value="blue"), Ballot(value="red")])
    assert not agreed([Ballot(is_blank=True), Ballot(is_blank=True)])
