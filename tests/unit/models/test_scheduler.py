import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.worker.parked import ParkedPrefixes
from models.worker.scheduler import Budget, Pace, Scheduler, Sequence
from models.worker.slots import Placement, Slots


def scheduler(cells: int = 1000, parallel: int = 4, batch: int = 32) -> Scheduler:
    return Scheduler(Slots(parallel + 2, cells, ParkedPrefixes(0)), parallel, batch, max_waiting=8)


ALL = Budget(1000, 1000)


def admit(subject: Scheduler) -> list[tuple[Sequence, Placement]]:
    return list(subject.admit())


def sequence(number: int, length: int, first: int | None = None) -> Sequence:
    begin = 1000 * number if first is None else first
    return Sequence(number, "ann", list(range(begin, begin + length)), length)


def streaming(subject: Scheduler, number: int, length: int = 2) -> Sequence:
    """A sequence past its prompt, with one token to decode."""
    made = sequence(number, length)
    assert subject.submit(made)
    admit(subject)
    pieces = subject.plan(ALL)
    subject.done(pieces)
    made.tokens.append(7)
    return made


def test_streams_come_first_and_prompts_get_the_budget() -> None:
    subject = scheduler()
    stream = streaming(subject, 1)
    prompt = sequence(2, 100)
    subject.submit(prompt)
    admit(subject)
    first, second = subject.plan(Budget(paced=12, short=4))
    assert (first.sequence, first.tokens, first.logits) == (stream, [7], True)
    assert (second.sequence, len(second.tokens), second.logits) == (prompt, 12, False)


def test_alone_a_prompt_gets_the_whole_batch() -> None:
    subject = scheduler()
    prompt = sequence(1, 100)
    subject.submit(prompt)
    admit(subject)
    (piece,) = subject.plan(Budget(paced=12, short=4))
    assert (piece.start, len(piece.tokens)) == (0, 32)


def test_the_oldest_prompt_is_served_first() -> None:
    subject = scheduler()
    for number in (1, 2, 3):
        subject.submit(sequence(number, 24))
    admit(subject)
    pieces = subject.plan(ALL)
    assert [(p.sequence.id, len(p.tokens), p.logits) for p in pieces] == [
        (1, 24, True),
        (2, 8, False),
    ]


def test_only_the_last_token_of_a_prompt_gets_logits() -> None:
    subject = scheduler()
    prompt = sequence(1, 70)
    subject.submit(prompt)
    admit(subject)
    seen: list[tuple[int, int, bool]] = []
    while prompt.pending:
        (piece,) = subject.plan(ALL)
        seen.append((piece.start, len(piece.tokens), piece.logits))
        subject.done([piece])
    assert seen == [(0, 32, False), (32, 32, False), (64, 6, True)]


def test_a_prompt_waits_for_cells_that_running_prompts_will_take() -> None:
    subject = scheduler(cells=100)
    subject.submit(sequence(1, 60))
    subject.submit(sequence(2, 60))
    assert [s.id for s, _ in admit(subject)] == [1]
    subject.remove(subject.running[0], keep=False)
    assert [s.id for s, _ in admit(subject)] == [2]


def test_the_last_running_sequence_is_never_preempted() -> None:
    subject = scheduler()
    streaming(subject, 1)
    assert subject.preempt() is None


def test_preempted_sequences_wait_in_their_order() -> None:
    subject = scheduler()
    for number in (1, 2, 3):
        streaming(subject, number)
    waiting = sequence(4, 2)
    subject.waiting.append(waiting)
    assert [subject.preempt() is not None for _ in range(3)] == [True, True, False]
    assert [s.id for s in subject.waiting] == [2, 3, 4]
    assert all(s.slot is None and s.past == 0 for s in subject.waiting)


def test_idle_prefixes_give_way_before_anyone_is_preempted() -> None:
    subject = scheduler(cells=100)
    done = streaming(subject, 1, length=40)
    subject.remove(done)
    subject.submit(sequence(2, 90))
    admit(subject)
    for _ in range(3):
        pieces = subject.plan(ALL)
        if subject.shortage(pieces):
            subject.make_room(sum(len(piece.tokens) for piece in pieces))
        assert subject.shortage(pieces) == 0
        subject.done(pieces)
    assert subject.running[0].pending == 0


def test_removing_a_waiting_sequence_touches_no_cache() -> None:
    subject = scheduler()
    waiting = sequence(1, 5)
    subject.submit(waiting)
    assert subject.remove(waiting) == []
    assert not subject.waiting
    assert subject.remove(waiting) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 512), st.integers(0, 512), st.floats(0.01, 1e5, allow_nan=False)),
        max_size=20,
    ),
    st.integers(1, 512),
)
def test_pace_stays_between_its_bounds(seen: list[tuple[int, int, float]], largest: int) -> None:
    pace = Pace()
    for tokens, prefill, milliseconds in seen:
        pace.observe(tokens, min(prefill, tokens), milliseconds)
    budget = pace.budget(largest)
    for size in (budget.paced, budget.short):
        assert min(pace.smallest, largest) <= size <= largest


def test_pace_gives_pieces_that_slow_streams_by_its_factor_only() -> None:
    pace = Pace(slowdown=2.5, smallest=4)
    assert pace.budget(512) == Budget(4, 4)  # nothing is known yet
    pace.observe(100, 100, 200)  # 2 ms a token
    pace.observe(8, 0, 40)
    assert pace.budget(512) == Budget(paced=50, short=125)
    assert pace.budget(100) == Budget(50, 100)


def test_pace_follows_a_change_of_speed() -> None:
    pace = Pace(smallest=1)
    pace.observe(100, 100, 100)
    for _ in range(30):
        pace.observe(100, 100, 600)
    assert pace.budget(512).short == pytest.approx(250 / 6, abs=1)


def test_short_prompts_are_prefilled_whole_beside_a_stream_and_long_ones_in_pieces() -> None:
    subject = scheduler(batch=100)
    stream = streaming(subject, 1)
    for number, length in ((2, 60), (3, 20), (4, 20)):
        subject.submit(sequence(number, length))
    admit(subject)
    pieces = subject.plan(Budget(paced=7, short=20))
    # Two short ones wait and one streams: the pause is twice as long.
    assert [(p.sequence.id, len(p.tokens)) for p in pieces] == [
        (stream.id, 1),
        (2, 7),
        (3, 20),
        (4, 20),
    ]


def test_pace_ignores_steps_that_are_mostly_streams() -> None:
    pace = Pace()
    pace.observe(100, 10, 1000)
    assert pace.token_ms == 0
    assert pace.step_ms == 0
