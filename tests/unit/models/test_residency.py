import random

from hypothesis import given, settings
from hypothesis import strategies as st

from models.footprint import Footprint
from models.residency import BURST, Actions, Residency, Ticket
from models.sizes import HOST, sizes

GB = 10**9


def subject(budget: int | None = 10, **options: float) -> Residency:
    return Residency(None if budget is None else Footprint(host=budget), **options)  # type: ignore[arg-type]


def with_models(found: Residency, *models: str, size: int = 6, **options: object) -> Residency:
    for model in models:
        found.add(model, Footprint(host=size), **options)  # type: ignore[arg-type]
    return found


def load(found: Residency, model: str, now: float) -> Ticket:
    """A request for an unloaded model, which has the room it needs, and is let in."""
    ticket = Ticket(model, "a", now)
    found.ask(ticket)
    assert found.step(now).load == [model]
    assert ticket in found.loaded(model, now)
    return ticket


def test_a_model_is_loaded_for_its_first_request_and_stays() -> None:
    found = with_models(subject(), "a")
    load(found, "a", 0)
    found.leave("a", 1)
    assert found.step(1) == Actions()
    assert found.enter("a", 2)
    assert found.running("a") == 1


def test_what_fits_is_loaded_beside_the_others() -> None:
    found = with_models(subject(12), "a", "b")
    load(found, "a", 0)
    load(found, "b", 0)
    assert found.used() == {HOST: 12}


def test_without_a_budget_everything_fits() -> None:
    found = with_models(subject(None), *"abc", size=10**15)
    for model in "abc":
        load(found, model, 0)


def test_the_idle_model_used_least_recently_goes() -> None:
    found = with_models(subject(12), "a", "b", "c")
    load(found, "a", 0)
    load(found, "b", 1)
    found.leave("b", 2)
    found.leave("a", 3)
    found.ask(Ticket("c", "x", 4))
    assert found.step(4).unload == ["b"]
    assert found.step(4) == Actions()  # its memory is not back yet
    found.unloaded("b")
    assert found.step(5).load == ["c"]
    assert found.evictions("b") == 1


def test_no_more_than_needed_goes() -> None:
    found = with_models(subject(10), "small", size=2)
    found.add("large", Footprint(host=8))
    found.add("wanted", Footprint(host=7))
    load(found, "small", 0)
    load(found, "large", 1)
    found.leave("small", 2)
    found.leave("large", 3)
    found.ask(Ticket("wanted", "x", 4))
    assert found.step(4).unload == ["large"]


def test_a_busy_model_is_not_unloaded_but_takes_no_more_after_a_while() -> None:
    found = with_models(subject(patience_s=2), "a", "b")
    load(found, "a", 0)
    wanted = Ticket("b", "x", 1)
    found.ask(wanted)
    assert found.step(1).wake_at == 3
    assert found.enter("a", 2)
    assert found.step(3).unload == []
    assert not found.enter("a", 3)  # it drains
    late = Ticket("a", "y", 3)
    found.ask(late)
    found.leave("a", 4)
    assert found.step(4).unload == []
    found.leave("a", 5)
    assert found.step(5).unload == ["a"]
    found.unloaded("a")
    assert found.step(5).load == ["b"]
    assert found.loaded("b", 6) == [wanted]
    found.leave("b", 7)
    assert found.step(7).unload == ["b"]  # `late` waited long enough
    found.unloaded("b")
    assert found.step(7).load == ["a"]


def test_who_goes_lets_the_draining_model_serve_again() -> None:
    found = with_models(subject(patience_s=0), "a", "b")
    load(found, "a", 0)
    wanted = Ticket("b", "x", 1)
    found.ask(wanted)
    found.step(1)
    late = Ticket("a", "y", 2)
    found.ask(late)
    assert found.step(2).admit == []
    found.cancel(wanted)
    assert found.step(3).admit == [late]


def test_memory_coming_back_is_for_who_waited_longest() -> None:
    found = with_models(subject(10), "a", "b", size=9)
    found.add("tiny", Footprint(host=2))
    load(found, "a", 0)
    found.leave("a", 1)
    found.ask(Ticket("b", "x", 2))
    assert found.step(2).unload == ["a"]
    found.ask(Ticket("tiny", "y", 3))
    assert found.step(3) == Actions()
    found.unloaded("a")
    assert found.step(4).load == ["b"]


def test_what_is_left_over_by_who_waits_is_used() -> None:
    found = with_models(subject(10), "a", "b", size=7)
    found.add("tiny", Footprint(host=2))
    load(found, "a", 0)
    found.ask(Ticket("b", "x", 2))
    found.ask(Ticket("tiny", "y", 3))
    assert found.step(3).load == ["tiny"]  # b will have 7 of a's 7


def test_pinned_models_stay_and_who_never_fits_is_refused() -> None:
    found = with_models(subject(10), "a", pinned=True)
    found.add("b", Footprint(host=5))
    load(found, "a", 0)
    found.leave("a", 1)
    assert found.step(100) == Actions()
    refused = Ticket("b", "x", 101)
    found.ask(refused)
    assert found.step(101).refuse == [refused]
    assert found.excess(["b"]) == {HOST: 1}


def test_idle_models_go_after_their_time() -> None:
    found = with_models(subject(), "a", idle_timeout_s=5.0)
    load(found, "a", 0)
    assert found.step(100) == Actions()  # a request is inside
    found.leave("a", 100)
    assert found.step(100).wake_at == 105
    assert found.step(105).unload == ["a"]
    found.unloaded("a")
    assert found.evictions("a") == 0
    assert found.used() == {}


def test_a_failed_model_refuses_who_waits_and_can_be_tried_again() -> None:
    found = with_models(subject(), "a")
    first, second = Ticket("a", "x", 0), Ticket("a", "y", 0)
    found.ask(first)
    found.ask(second)
    found.step(0)
    assert found.failed("a") == [first, second]
    assert found.state("a") == "failed"
    assert found.used() == {}
    load(found, "a", 1)


def test_a_model_removed_goes_with_its_last_request() -> None:
    found = with_models(subject(), "a")
    load(found, "a", 0)
    assert found.remove("a") == []
    assert not found.enter("a", 0)
    assert found.step(1).unload == []
    found.leave("a", 2)
    assert found.step(2).unload == ["a"]
    found.unloaded("a")
    assert not found.known("a")


def test_a_model_told_to_unload_comes_back_for_who_asks_for_it() -> None:
    found = with_models(subject(), "a")
    load(found, "a", 0)
    found.unload("a")
    again = Ticket("a", "x", 1)
    found.ask(again)
    assert found.step(1) == Actions()
    found.leave("a", 2)
    assert found.step(2).unload == ["a"]
    found.unloaded("a")
    assert found.step(3).load == ["a"]
    assert found.loaded("a", 3) == [again]


def test_who_waits_already_fills_the_queue_and_a_stranger_does_not() -> None:
    found = with_models(subject(max_waiting=2), "a")
    found.ask(Ticket("a", "x", 0))
    assert not found.full("x")
    found.ask(Ticket("a", "x", 0))
    assert found.full("x")
    assert not found.full("y")


def swap(found: Residency, model: str, other: str, now: float) -> Actions:
    """`other` is loaded and has a request; one for `model` waits; the former ends."""
    found.ask(Ticket(model, "x", now))
    found.step(now)
    found.leave(other, now + 0.1)
    done = found.step(now + 0.1)
    if done.unload:
        found.unloaded(other)
        found.step(now + 0.1)
        found.loaded(model, now + 0.1)
    return done


def test_thrashing_is_held_up_for_the_minimum_residency() -> None:
    found = with_models(subject(min_residency_s=10), "a", "b")
    load(found, "a", 0)
    pair = ["a", "b"]
    for turn in range(BURST):
        assert swap(found, pair[1], pair[0], turn + 1).unload == [pair[0]]
        pair.reverse()
    done = swap(found, pair[1], pair[0], BURST + 1)
    assert done.unload == []
    assert done.wake_at == BURST + 0.1 + 10
    assert found.enter(pair[0], BURST + 2)  # meanwhile it serves whoever asks
    found.leave(pair[0], BURST + 3)
    assert found.step(BURST + 10.2).unload == [pair[0]]


def test_thrashing_is_told_once() -> None:
    found = with_models(subject(min_residency_s=10), "a", "b")
    load(found, "a", 0)
    pair = ["a", "b"]
    for turn in range(BURST):
        swap(found, pair[1], pair[0], turn + 1)
        pair.reverse()
    found.ask(Ticket(pair[1], "x", BURST + 1))
    assert found.step(BURST + 1.1).thrashing == (pair[1], pair[0])
    assert found.step(BURST + 1.2).thrashing is None


def test_one_user_after_the_other_is_no_thrashing() -> None:
    """A lone ensemble asks each model when it is done with the one before: nothing to wait for."""
    found = with_models(subject(min_residency_s=10), "a", "b")
    load(found, "a", 0)
    pair = ["a", "b"]
    for turn in range(1, 20):
        found.leave(pair[0], turn)
        found.ask(Ticket(pair[1], "x", turn))
        assert found.step(turn).unload == [pair[0]]
        found.unloaded(pair[0])
        found.step(turn)
        found.loaded(pair[1], turn)
        pair.reverse()


def test_devices_are_budgets_of_their_own() -> None:
    found = Residency(Footprint(host=10, devices={0: 8, 1: 8}))
    found.add("first", Footprint(host=1, devices={0: 8}))
    found.add("second", Footprint(host=1, devices={1: 8}))
    found.add("both", Footprint(host=1, devices={0: 4, 1: 4}))
    load(found, "first", 0)
    load(found, "second", 0)
    found.leave("first", 1)
    found.ask(Ticket("both", "x", 2))
    assert found.step(10).unload == ["first"]
    assert found.step(10).unload == []
    found.leave("second", 11)
    assert found.step(11).unload == ["second"]


def test_a_device_that_is_not_there_has_no_room() -> None:
    found = Residency(Footprint(host=10))
    found.add("a", Footprint(host=1, devices={0: 5}))
    assert found.excess(["a"]) == {0: 5}


def test_sizes_leave_out_what_is_nothing() -> None:
    assert sizes(Footprint(host=0, devices={0: 0, 1: 3})) == {1: 3}


class World:
    """Engines, clients and a clock that do at random whatever they may."""

    def __init__(self, seed: int, models: int, budget: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.budget = budget
        self.found = Residency(Footprint(host=budget), min_residency_s=3, patience_s=1)
        self.size = {f"m{n}": self.random.randint(1, budget) for n in range(models)}
        for name, size in self.size.items():
            timeout = self.random.choice([None, None, 2.0])
            pinned = self.random.random() < 0.1
            self.found.add(name, Footprint(host=size), pinned=pinned, idle_timeout_s=timeout)
        self.inside: list[tuple[str, float]] = []
        self.asked: list[Ticket] = []
        self.loading: list[str] = []
        self.unloading: list[str] = []
        self.longest_wait = 0.0

    def step(self) -> None:
        actions = self.found.step(self.now)
        for name in actions.unload:
            assert not any(model == name for model, _ in self.inside), "a busy model was unloaded"
        self.loading += actions.load
        self.unloading += actions.unload
        self.loading = [name for name in self.loading if name not in actions.unload]
        self.enter(actions.admit)
        for ticket in actions.refuse:
            self.asked.remove(ticket)
        assert sum(self.found.used().values()) <= self.budget, "over the budget"

    def enter(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.asked.remove(ticket)
            self.longest_wait = max(self.longest_wait, self.now - ticket.arrived)
            self.inside.append((ticket.model, self.now))

    def act(self) -> None:
        self.now += self.random.choice([0.0, 0.1, 0.5])
        name = self.random.choice(list(self.size))
        match self.random.randrange(8):
            case 0 | 1 | 2:
                self.request(name)
            case 3:
                self.finish_one()
            case 4 if self.loading:
                self.loaded(self.random.choice(self.loading))
            case 5 if self.unloading:
                self.unloaded(self.random.choice(self.unloading))
            case 6:
                self.mishap(name)
            case _:
                pass
        self.step()

    def request(self, name: str) -> None:
        if self.found.enter(name, self.now):
            self.inside.append((name, self.now))
        else:
            ticket = Ticket(name, "x", self.now, load=self.random.random() < 0.2)
            self.found.ask(ticket)
            self.asked.append(ticket)

    def finish_one(self) -> None:
        if self.inside:
            name, _ = self.inside.pop(self.random.randrange(len(self.inside)))
            self.found.leave(name, self.now)

    def loaded(self, name: str) -> None:
        self.loading.remove(name)
        self.enter(self.found.loaded(name, self.now))

    def unloaded(self, name: str) -> None:
        self.unloading.remove(name)
        self.found.unloaded(name)

    def mishap(self, name: str) -> None:
        """A client goes, a load fails, a loaded model is given up or told to go."""
        match self.random.randrange(4):
            case 0 if self.asked:
                ticket = self.asked.pop(self.random.randrange(len(self.asked)))
                self.found.cancel(ticket)
            case 1 if self.loading:
                self.fail(self.loading.pop(self.random.randrange(len(self.loading))))
            case 2 if self.found.state(name) == "loaded":
                self.fail(name)
            case 3:
                for ticket in self.found.unload(name):
                    self.asked.remove(ticket)
            case _:
                pass

    def fail(self, name: str) -> None:
        for ticket in self.found.failed(name):
            self.asked.remove(ticket)

    def settle(self) -> None:
        """Everything that was begun ends within a second; nothing new comes."""
        for _ in range(200):
            self.now += 0.5
            for name in list(self.loading):
                self.loaded(name)
            for name in list(self.unloading):
                self.unloaded(name)
            for name, since in list(self.inside):
                if self.now - since >= 1:
                    self.inside.remove((name, since))
                    self.found.leave(name, self.now)
            self.step()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(5, 20))
def test_never_over_the_budget_never_a_busy_model_and_everybody_served(
    seed: int, models: int, budget: int
) -> None:
    world = World(seed, models, budget)
    for _ in range(150):
        world.act()
    world.settle()
    assert world.asked == []
    assert world.inside == []


def test_a_crowd_for_one_model_starves_nobody() -> None:
    """Two models that exclude each other; requests for one come without end."""
    world = World(0, 2, 10)
    world.found = with_models(subject(10, min_residency_s=3, patience_s=1), "crowd", "lone", size=6)
    world.size = {"crowd": 6, "lone": 6}
    for turn in range(2000):
        world.now += 0.1
        world.request("crowd")
        if turn % 50 == 0:
            world.request("lone")
        for name in list(world.loading):
            world.loaded(name)
        for name in list(world.unloading):
            world.unloaded(name)
        for name, since in list(world.inside):
            if world.now - since >= 1:
                world.inside.remove((name, since))
                world.found.leave(name, world.now)
        world.step()
    # Patience or the minimum residency, the requests inside, the load: and the same once more.
    assert world.longest_wait < 10
