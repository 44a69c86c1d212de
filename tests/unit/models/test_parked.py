from hypothesis import given
from hypothesis import strategies as st

from models.worker.parked import WORTH_PARKING, ParkedPrefixes
from models.worker.prefix import common_prefix

CONTEXT = list(range(1000))


def store(budget: int) -> ParkedPrefixes:
    """A token is a byte here."""
    parked = ParkedPrefixes(budget)
    parked.learn(1, 1)
    return parked


def put(parked: ParkedPrefixes, tokens: list[int], owner: str = "ann") -> None:
    assert parked.wants(tokens, owner)
    parked.add(tokens, owner, bytes(len(tokens)))


def test_voters_over_one_context_are_parked_once() -> None:
    parked = store(100_000)
    put(parked, [*CONTEXT, 1, 2, 3])
    assert not parked.wants([*CONTEXT, *range(100)], "ann")
    assert parked.wants([*CONTEXT, *range(1000)], "ann")
    assert parked.wants([*CONTEXT, 7], "bob")


def test_a_conversation_replaces_what_it_continues() -> None:
    parked = store(100_000)
    put(parked, CONTEXT)
    assert not parked.wants([*CONTEXT, 1], "ann")
    longer = [*CONTEXT, *range(WORTH_PARKING)]
    put(parked, longer)
    assert (len(parked), parked.bytes) == (1, len(longer))


def test_the_least_recently_used_gives_way() -> None:
    parked = store(100)
    for first in (1, 2):
        put(parked, [first] * 40)
    found, shared = parked.best([1] * 40, "ann")
    assert found is not None
    assert shared == 40
    parked.touch(found)
    put(parked, [3] * 40)
    assert parked.best([2] * 40, "ann") == (None, 0)
    assert parked.best([1] * 50, "ann") == (found, 40)
    assert parked.bytes == 80


def test_what_alone_exceeds_the_budget_is_not_wanted() -> None:
    parked = store(100)
    put(parked, [1] * 40)
    assert not parked.wants([2] * 101, "ann")
    parked.learn(1, 2)  # a state was larger than thought
    assert not parked.wants([2] * 60, "ann")


def test_a_state_larger_than_foreseen_is_let_go() -> None:
    parked = store(100)
    put(parked, [1] * 40)
    parked.add([2] * 100, "ann", bytes(200))
    assert (len(parked), parked.bytes) == (1, 40)
    assert not parked.wants([3] * 60, "ann")
    assert parked.wants([3] * 45, "ann")


def test_without_a_budget_nothing_is_wanted() -> None:
    assert not store(0).wants(CONTEXT, "ann")


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 1), min_size=30, max_size=60), st.sampled_from("ab")),
        max_size=12,
    ),
    st.lists(st.integers(0, 1), min_size=1, max_size=60),
)
def test_the_best_is_the_longest_of_ones_own_and_the_budget_holds(
    sequences: list[tuple[list[int], str]], wanted: list[int]
) -> None:
    parked = store(120)
    for tokens, owner in sequences:
        if parked.wants(tokens, owner):
            parked.add(tokens, owner, bytes(len(tokens)))
        assert parked.bytes <= 120
    found, shared = parked.best(wanted, "a")
    if found is None:
        assert shared == 0
    else:
        assert found.scope == "a"
        assert found.tokens[:shared] == wanted[:shared]
        assert shared == common_prefix(found.tokens, wanted)
