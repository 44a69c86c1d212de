"""Who is served when, and that nobody is forgotten."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from models.worker.windows import Window, WindowQueue, round_robin

TOKENS, ROWS = 64, 8


def window(request: int, row: int, length: int) -> Window:
    return Window(request, row, [0] * length)


def filled(lengths: dict[tuple[str, int], list[int]]) -> WindowQueue:
    """A queue of these requests, by owner and id, in this order."""
    queue = WindowQueue(TOKENS, ROWS)
    for (owner, request), sizes in lengths.items():
        for row, size in enumerate(sizes):
            queue.add(owner, window(request, row, size))
    return queue


requests = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.integers(1, 2 * TOKENS), min_size=1)), min_size=1
).map(lambda found: {(owner, n): sizes for n, (owner, sizes) in enumerate(found)})


@given(requests)
def test_every_window_goes_once_in_batches_that_fit(
    lengths: dict[tuple[str, int], list[int]],
) -> None:
    queue, seen = filled(lengths), defaultdict(list)
    while queue:
        batch = queue.take()
        longest = max(len(each.tokens) for each in batch)
        assert 1 <= len(batch) <= ROWS
        assert len(batch) == 1 or longest * len(batch) <= TOKENS
        for each in batch:
            seen[each.request].append(each.row)
    expected = {request: list(range(len(sizes))) for (_, request), sizes in lengths.items()}
    assert {request: sorted(rows) for request, rows in seen.items()} == expected


@given(requests)
def test_a_request_is_served_within_as_many_batches_as_owners_times_requests_before_it(
    lengths: dict[tuple[str, int], list[int]],
) -> None:
    queue, first = filled(lengths), {}
    batch = 0
    while queue:
        for each in queue.take():
            first.setdefault(each.request, batch)
        batch += 1
    owners = len({owner for owner, _ in lengths})
    place: dict[str, int] = defaultdict(int)
    for owner, request in lengths:
        place[owner] += 1
        assert first[request] < owners * place[owner]


def test_one_text_does_not_wait_for_thousands_of_the_same_owner_or_another() -> None:
    for owner in ("giant", "small"):
        queue = filled({("giant", 1): [TOKENS] * 2000})
        queue.take()
        queue.add(owner, window(2, 0, 3))
        served = [each.request for _ in range(2) for each in queue.take()]
        assert 2 in served


def test_like_lengths_go_together() -> None:
    queue = filled({("a", 1): [8, 60, 8, 60, 8]})
    assert [[len(each.tokens) for each in queue.take()] for _ in range(3)] == [[8] * 3, [60], [60]]


@given(requests, st.data())
def test_a_removed_request_is_gone_and_the_others_are_not(
    lengths: dict[tuple[str, int], list[int]], data: st.DataObject
) -> None:
    queue = filled(lengths)
    gone = data.draw(st.sampled_from([request for _, request in lengths]))
    queue.remove(gone)
    queue.remove(gone)
    left: dict[int, int] = defaultdict(int)
    while queue:
        for each in queue.take():
            left[each.request] += 1
    assert left == {request: len(s) for (_, request), s in lengths.items() if request != gone}


def test_round_robin_takes_one_of_each_until_all_are_empty() -> None:
    assert "".join(round_robin(["abc", "", "de", "f"])) == "adfbec"
