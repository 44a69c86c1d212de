from models.worker.pace import Budget
from models.worker.parked import ParkedPrefixes
from models.worker.scheduler import (
    FLEX_TURN,
    LEAST_APART,
    WHOLE_TILE,
    Placed,
    Preempted,
    Scheduler,
)
from models.worker.slots import Slots
from models.worker.waiting import Sequence


def scheduler(cells: int = 1000, parallel: int = 4, batch: int = 32) -> Scheduler:
    return Scheduler(Slots(parallel + 2, cells, ParkedPrefixes(0)), parallel, batch, max_waiting=8)


ALL = Budget(1000, 1000)


def admit(subject: Scheduler) -> list[int]:
    """Who runs from now on."""
    return [event.sequence.id for event in subject.admit() if isinstance(event, Placed)]


def sequence(number: int, length: int, owner: str = "ann", *, flex: bool = False) -> Sequence:
    begin = 1000 * number
    return Sequence(number, owner, list(range(begin, begin + length)), length, flex)


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
    assert admit(subject) == [1]
    subject.remove(subject.running[0], keep=False)
    assert admit(subject) == [2]


def test_the_last_running_sequence_is_never_preempted() -> None:
    subject = scheduler()
    streaming(subject, 1)
    assert subject.preempt() is None


def test_preempted_sequences_wait_in_their_order() -> None:
    subject = scheduler()
    for number in (1, 2, 3):
        streaming(subject, number)
    assert subject.submit(sequence(4, 2))
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
        needed = sum(len(piece.tokens) for piece in pieces)
        subject.make_room(needed)
        assert needed <= subject.slots.free_cells
        subject.done(pieces)
    assert subject.running[0].pending == 0


def test_removing_a_waiting_sequence_touches_no_cache() -> None:
    subject = scheduler()
    waiting = sequence(1, 5)
    subject.submit(waiting)
    assert subject.remove(waiting) == []
    assert not subject.waiting
    assert subject.remove(waiting) == []


def test_a_short_prompt_is_prefilled_whole_beside_a_stream_and_a_long_one_in_pieces() -> None:
    for length, piece in ((20, 20), (60, 7)):
        subject = scheduler(batch=100)
        stream = streaming(subject, 1)
        subject.submit(sequence(2, length))
        admit(subject)
        pieces = subject.plan(Budget(paced=7, short=20))
        assert [(p.sequence.id, len(p.tokens)) for p in pieces] == [(stream.id, 1), (2, piece)]


def test_where_more_wait_than_stream_the_pieces_are_larger() -> None:
    subject = scheduler(cells=2000, parallel=8, batch=500)
    stream = streaming(subject, 1)
    for number, length in ((2, 300), (3, 20), (4, 20)):
        subject.submit(sequence(number, length))
    admit(subject)
    pieces = subject.plan(Budget(paced=7, short=20))
    assert [(p.sequence.id, len(p.tokens)) for p in pieces] == [
        (stream.id, 1),
        (2, 3 * WHOLE_TILE),
        (3, 20),
        (4, 20),
    ]


def reads(lengths: dict[int, int], flex: tuple[int, ...] = (), apart: int = 4000) -> Scheduler:
    """Prompts of these lengths, of an owner each, that have got their places."""
    subject = scheduler(cells=20_000, parallel=8, batch=5000)
    subject.apart = apart
    for number, length in lengths.items():
        subject.submit(sequence(number, length, owner=str(number), flex=number in flex))
    admit(subject)
    return subject


def turns(subject: Scheduler, count: int, pieces: int, piece: int = 256) -> list[list[int]]:
    """Whose prompts are read at once, in each of so many pieces."""
    found: list[list[int]] = []
    for _ in range(pieces):
        reading = subject.to_read(count)
        found.append([each.id for each in reading])
        for each in reading:
            subject.read(each, min(piece, each.known - 1 - each.read))
            if each.read == each.known - 1:
                subject.bring(each)
    return found


def test_long_prompts_are_read_apart_but_for_their_last_token() -> None:
    subject = reads({1: LEAST_APART, 2: LEAST_APART - 1, 3: 4001})
    pieces = subject.plan(ALL)
    assert [piece.sequence.id for piece in pieces] == [2, 3]
    (first,) = subject.to_read(2)
    subject.read(first, LEAST_APART - 1)
    subject.bring(first)
    assert subject.to_read(2) == []
    (end,) = (piece for piece in subject.plan(ALL) if piece.sequence is first)
    assert (end.start, end.logits) == (LEAST_APART - 1, 1)
    assert len(end.tokens) == 1


def test_a_prompt_that_is_read_keeps_its_reader_for_a_turn() -> None:
    assert turns(reads({1: 3000, 2: 3000}), 1, 9) == [*[[1]] * 4, *[[2]] * 4, [1]]
    assert turns(reads({1: 600, 2: 3000, 3: 3000}), 2, 4) == [[1, 2], [1, 2], [1, 2], [2, 3]]


def test_flex_prompts_are_read_when_no_other_is_and_every_ninth_piece() -> None:
    subject = reads({1: 3000, 2: 3000}, flex=(1,))
    assert turns(subject, 1, 10) == [*[[2]] * FLEX_TURN, [1], [2]]
    subject = reads({1: 3000, 2: 2}, flex=(1,))
    assert turns(subject, 1, 1) == [[1]]
    subject.submit(sequence(3, 3000))
    admit(subject)
    assert turns(subject, 1, 1) == [[3]]


def test_what_cannot_be_read_apart_goes_in_the_steps() -> None:
    subject = reads({1: 500, 2: 600})
    assert subject.plan(ALL) == []
    subject.read_no_more()
    assert subject.to_read(2) == []
    assert [piece.sequence.id for piece in subject.plan(ALL)] == [1, 2]
    lost = reads({1: 500, 2: 2})
    (first,) = lost.to_read(1)
    lost.restart(first)
    assert [piece.sequence.id for piece in lost.plan(ALL)] == [1, 2]


def test_alone_a_prompt_is_not_read_apart() -> None:
    subject = reads({1: 1500})
    assert subject.to_read(2) == []
    pieces = subject.plan(ALL)
    assert len(pieces[0].tokens) == 1500


def finish(subject: Scheduler) -> None:
    """End all that runs, as if it had been answered."""
    for running in list(subject.running):
        subject.remove(running, keep=False)


def run_to_the_end(subject: Scheduler, sequence: Sequence) -> None:
    while sequence.pending:
        subject.done(subject.plan(ALL))


def test_normal_work_goes_before_flex_that_came_earlier() -> None:
    subject = scheduler(parallel=1)
    subject.submit(sequence(1, 4, flex=True))
    subject.submit(sequence(2, 4))
    assert admit(subject) == [2]


def test_flex_uses_what_nobody_else_wants_and_gives_it_up_for_normal_work() -> None:
    subject = scheduler(parallel=2)
    flex = [sequence(number, 8, flex=True) for number in (1, 2, 3)]
    for each in flex:
        subject.submit(each)
    assert admit(subject) == [1, 2]
    subject.done(subject.plan(ALL))
    subject.submit(sequence(4, 8))
    preempted, placed = subject.admit()
    assert isinstance(preempted, Preempted)
    assert preempted.sequence is flex[1]  # the youngest that runs
    assert isinstance(placed, Placed)
    assert placed.sequence.id == 4
    assert flex[1].past == 0
    finish(subject)
    assert admit(subject) == [2, 3]  # by arrival again


def test_flex_gives_its_cells_up_for_normal_work() -> None:
    subject = scheduler(cells=100)
    subject.submit(sequence(1, 60, flex=True))
    assert admit(subject) == [1]
    subject.submit(sequence(2, 60))
    assert [type(event) for event in subject.admit()] == [Preempted, Placed]


def test_flex_keeps_its_cells_where_giving_them_up_would_not_help() -> None:
    subject = scheduler(cells=100)
    subject.submit(sequence(1, 60))
    subject.submit(sequence(2, 10, flex=True))
    assert admit(subject) == [1, 2]
    subject.submit(sequence(3, 60))
    assert list(subject.admit()) == []


def test_flex_has_its_turn_and_keeps_it() -> None:
    subject = scheduler(parallel=1)
    subject.submit(sequence(1, 4, flex=True))
    order: list[int] = []
    for number in range(2, 4 + FLEX_TURN):
        subject.submit(sequence(number, 4))
        order += admit(subject)
        if order[-1] == 1:
            assert list(subject.admit()) == []  # normal work waits, and flex stays
        finish(subject)
    assert order.index(1) == FLEX_TURN
    assert not subject.running


def test_flex_that_is_preempted_again_and_again_has_its_turn() -> None:
    subject = scheduler(parallel=1)
    flex = sequence(1, 4, flex=True)
    subject.submit(flex)
    for number in range(2, 2 + FLEX_TURN):
        assert admit(subject) == [1]
        if not flex.flex:
            break
        subject.submit(sequence(number, 4))
        assert admit(subject) == [number]
        finish(subject)
    subject.submit(sequence(99, 4))
    assert list(subject.admit()) == []
    assert subject.running == [flex]


def test_short_of_cells_flex_is_preempted_first_then_the_youngest() -> None:
    subject = scheduler()
    old = streaming(subject, 1)
    flex = sequence(2, 2, flex=True)
    subject.submit(flex)
    admit(subject)
    young = streaming(subject, 3)
    for expected in (flex, young):
        found = subject.preempt()
        assert found is not None
        assert found.sequence is expected
    assert subject.preempt() is None
    assert subject.running == [old]


def test_one_request_does_not_wait_for_another_owners_hundred() -> None:
    subject = scheduler(parallel=2)
    subject.max_waiting = 200
    for number in range(1, 101):
        subject.submit(sequence(number, 4, "ann"))
    assert admit(subject) == [1, 2]
    subject.submit(sequence(101, 4, "bob"))
    run_to_the_end(subject, subject.running[0])
    subject.remove(subject.running[0])
    assert admit(subject) == [101]
    finish(subject)
    assert admit(subject) == [3, 4]


def test_between_owners_the_one_who_was_served_least_is_next() -> None:
    subject = scheduler(parallel=1)
    for number, length, owner in ((1, 30, "ann"), (2, 10, "bob"), (3, 5, "ann"), (4, 10, "bob")):
        subject.submit(sequence(number, length, owner))
    order: list[int] = []
    for _ in range(4):
        (placed,) = admit(subject)
        order.append(placed)
        run_to_the_end(subject, subject.running[0])
        finish(subject)
    assert order == [1, 2, 4, 3]


def test_time_spent_away_earns_no_credit() -> None:
    subject = scheduler(parallel=1)
    subject.max_waiting = 100
    for number in range(1, 11):
        subject.submit(sequence(number, 20, "ann"))
    for _ in range(5):
        admit(subject)
        run_to_the_end(subject, subject.running[0])
        finish(subject)
    for number in range(11, 15):
        subject.submit(sequence(number, 20, "bob"))
    order: list[int] = []
    for _ in range(6):
        order += admit(subject)
        run_to_the_end(subject, subject.running[0])
        finish(subject)
    # Bob, who never had anything, is not let through with all of his at once.
    assert order == [11, 6, 12, 7, 13, 8]


def test_owners_take_turns_with_their_prompts() -> None:
    subject = scheduler(cells=2000)
    for number, owner in ((1, "ann"), (2, "ann"), (3, "bob")):
        subject.submit(sequence(number, 100, owner))
    admit(subject)
    fed: list[int] = []
    for _ in range(6):
        (piece,) = subject.plan(ALL)
        fed.append(piece.sequence.id)
        subject.done([piece])
    assert fed == [1, 3, 1, 3, 1, 3]


def test_flex_prompts_get_what_normal_ones_leave_and_a_piece_now_and_then() -> None:
    subject = scheduler(cells=5000)
    flex = sequence(1, 900, flex=True)
    subject.submit(flex)
    subject.submit(sequence(2, 900))
    admit(subject)
    fed: list[int] = []
    for _ in range(2 * FLEX_TURN + 2):
        (piece,) = subject.plan(ALL)
        fed.append(piece.sequence.id)
        subject.done([piece])
    assert fed == 2 * [*[2] * FLEX_TURN, 1]


def test_a_preempted_stream_is_prefilled_in_pieces_when_it_comes_back() -> None:
    subject = scheduler()
    for number in (1, 2):
        streaming(subject, number)
    back = subject.running[1]
    for _ in range(20):
        subject.done(subject.plan(ALL))
        for each in subject.running:
            each.tokens.append(7)
    subject.preempt()
    assert admit(subject) == [2]
    first, second = subject.plan(Budget(paced=5, short=4))
    assert (first.sequence.id, len(first.tokens)) == (1, 1)
    assert (second.sequence, len(second.tokens), second.logits) == (back, 5, False)


def test_the_queue_is_bounded_but_shuts_nobody_out() -> None:
    subject = scheduler(parallel=1)
    subject.max_waiting = 2
    assert all(subject.submit(sequence(number, 4, flex=True)) for number in (1, 2, 3))
    assert not subject.submit(sequence(4, 4, flex=True))
    # Flex takes no place from normal work.
    assert all(subject.submit(sequence(number, 4)) for number in (5, 6, 7))
    assert not subject.submit(sequence(8, 4))
    assert not subject.submit(sequence(9, 4, flex=True))
    # Nor does one owner shut another out.
    assert subject.submit(sequence(10, 4, "bob"))
    assert not subject.submit(sequence(11, 4, "bob"))
    assert (subject.ahead(flex=False), subject.ahead(flex=True)) == (4, 7)


def test_normal_work_does_not_wait_for_the_prefill_of_flex() -> None:
    subject = scheduler(cells=2000)
    prompt = list(range(200))
    subject.submit(Sequence(1, "ann", list(prompt), 200, flex=True))
    admit(subject)
    subject.submit(Sequence(2, "ann", [*prompt, 5], 201))
    assert admit(subject) == [2]
    subject.submit(Sequence(3, "ann", [*prompt, 6], 201))
    assert admit(subject) == []


def test_who_waits_for_a_prefill_begins_when_it_is_done() -> None:
    subject = scheduler(cells=2000)
    prompt = list(range(100))
    first = Sequence(1, "ann", list(prompt), 100)
    subject.submit(first)
    subject.submit(Sequence(2, "ann", [*prompt, 5], 101))
    assert admit(subject) == [1]
    while first.pending:
        assert admit(subject) == []
        subject.done(subject.plan(ALL))
    assert admit(subject) == [2]
