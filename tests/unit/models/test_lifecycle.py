import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

import pytest

from models.engines.fake import FakeEngine
from models.engines.on_demand import OnDemandEngine
from models.errors import EngineUnavailable, LoadFailed, QueueFull
from models.footprint import Footprint
from models.lifecycle import Lifecycle
from models.residency import BURST, Residency
from models.types import GenerateDelta, GenerateRequest, TextPrompt, TokenizeRequest

WORDS = TokenizeRequest(TextPrompt("a b"))


class Slow(FakeEngine):
    """Is loaded when `let` is set; `stopped` is set when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()
        self.stopped = asyncio.Event()
        self.inside = 0

    async def start(self) -> None:
        await self.let.wait()
        await super().start()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateDelta, None]:
        self.inside += 1
        try:
            async for delta in super().generate(request):
                yield delta
        finally:
            self.inside -= 1

    async def stop(self, deadline_s: float) -> None:
        assert self.inside == 0, "stopped with a request inside"
        self.stopped.set()
        await super().stop(deadline_s)


class Rig:
    """Engines that exclude each other: each takes all there is."""

    def __init__(self, *names: str, idle_timeout_s: float | None = None, **options: float) -> None:
        self.residency = Residency(Footprint(host=10), **options)  # type: ignore[arg-type]
        self.lifecycle = Lifecycle(self.residency, min_residency_s=10)
        self.raw = {name: Slow() for name in names}
        self.engines: dict[str, OnDemandEngine] = {}
        for name, engine in self.raw.items():
            self.lifecycle.add(
                name, name, engine, Footprint(host=10), idle_timeout_s=idle_timeout_s
            )
            self.engines[name] = OnDemandEngine(engine, name, self.lifecycle)

    def ask(self, model: str, owner: str = "x") -> AsyncGenerator[GenerateDelta, None]:
        return self.engines[model].generate(GenerateRequest(TextPrompt("hi there"), owner=owner))

    async def whole(self, model: str, owner: str) -> str:
        return "".join([delta.text async for delta in self.ask(model, owner)])

    def state(self, model: str) -> str:
        return self.engines[model].stats().state


async def until(reached: Callable[[], bool]) -> None:
    """Let other tasks run until it is so, which takes a few turns and no time."""
    for _ in range(100):
        if reached():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_a_call_loads_and_an_idle_model_goes_by_itself() -> None:
    rig = Rig("a", idle_timeout_s=0.01)
    assert rig.state("a") == "unloaded"
    assert len(await rig.engines["a"].tokenize(WORDS)) == 2
    async with asyncio.timeout(20):
        await rig.raw["a"].stopped.wait()
    assert rig.raw["a"].stats().state == "unloaded"
    assert len(await rig.engines["a"].tokenize(WORDS)) == 2
    assert rig.engines["a"].stats().loads == 2
    await rig.lifecycle.stop(1)


async def test_a_model_with_a_request_makes_room_when_that_is_done() -> None:
    rig = Rig("a", "b", patience_s=0)
    answer = rig.ask("a")
    await anext(answer)
    other = asyncio.create_task(rig.engines["b"].tokenize(WORDS))
    await asyncio.sleep(0)
    assert rig.state("b") == "loading"
    assert rig.engines["b"].stats().detail == "waits for memory"
    await answer.aclose()
    assert len(await other) == 2
    assert rig.state("a") == "unloaded"
    assert rig.engines["a"].stats().evictions == 1
    await rig.lifecycle.stop(1)


async def test_a_load_that_nobody_waits_for_any_more_ends_at_once() -> None:
    rig = Rig("a")
    rig.raw["a"].let.clear()
    rig.lifecycle.begin_load("a")
    await until(lambda: rig.state("a") == "loading")
    rig.lifecycle.unload("a")
    await until(lambda: rig.raw["a"].stopped.is_set())
    await until(lambda: rig.lifecycle.fits_now("a"))
    assert rig.state("a") == "unloaded"
    assert rig.engines["a"].stats().loads == 0
    await rig.lifecycle.stop(1)


async def test_requests_that_wait_for_a_load_are_served_before_the_model_is_unloaded() -> None:
    rig = Rig("a")
    rig.raw["a"].let.clear()
    rig.lifecycle.begin_load("a")
    waiting = asyncio.create_task(rig.engines["a"].tokenize(WORDS))
    await asyncio.sleep(0)
    rig.lifecycle.unload("a")
    rig.raw["a"].let.set()
    assert len(await waiting) == 2
    await until(lambda: rig.state("a") == "unloaded")
    assert rig.engines["a"].stats().loads == 1
    await rig.lifecycle.stop(1)


async def test_who_hangs_up_while_it_waits_leaves_nothing() -> None:
    rig = Rig("a")
    rig.raw["a"].let.clear()
    waiting = asyncio.create_task(rig.engines["a"].tokenize(WORDS))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.residency.waiting() == 0
    rig.raw["a"].let.set()
    await rig.engines["a"].start()
    assert rig.residency.running("a") == 0
    await rig.lifecycle.stop(1)


async def test_who_hangs_up_in_the_moment_of_admission_leaves_nothing() -> None:
    rig = Rig("a")
    rig.raw["a"].let.clear()
    waiting = asyncio.create_task(rig.engines["a"].tokenize(WORDS))
    await asyncio.sleep(0)
    rig.raw["a"].let.set()
    await until(lambda: rig.residency.running("a") > 0)
    waiting.cancel()  # admitted, and does not know it yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.residency.running("a") == 0
    await rig.lifecycle.stop(1)


async def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    rig = Rig("a", max_waiting=1)
    rig.raw["a"].let.clear()
    first = asyncio.create_task(rig.whole("a", "x"))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as raised:
        await rig.whole("a", "x")
    assert raised.value.retry_after_s > 0
    other = asyncio.create_task(rig.whole("a", "stranger"))
    await asyncio.sleep(0)
    rig.raw["a"].let.set()
    assert await asyncio.gather(first, other) == ["hi there", "hi there"]
    await rig.lifecycle.stop(1)


async def test_a_model_larger_than_the_budget_names_the_numbers() -> None:
    rig = Rig("a")
    rig.lifecycle.add("huge", "huge", Slow(), Footprint(host=30_000_000_000))
    engine = OnDemandEngine(Slow(), "huge", rig.lifecycle)
    with pytest.raises(EngineUnavailable, match=r"'huge'.*30\.00 GB of the host's memory"):
        await engine.tokenize(WORDS)
    await rig.lifecycle.stop(1)


async def test_an_engine_given_up_gives_its_memory_back() -> None:
    rig = Rig("a", "b")
    await rig.engines["a"].start()
    rig.lifecycle.gave_up("a")
    assert rig.state("a") == "failed"
    with pytest.raises(EngineUnavailable):
        await rig.engines["a"].tokenize(WORDS)
    assert len(await rig.engines["b"].tokenize(WORDS)) == 2
    assert not rig.raw["a"].stopped.is_set()  # it had nothing to give
    await rig.lifecycle.stop(1)


async def test_a_removed_model_is_refused_and_finishes_what_it_began() -> None:
    rig = Rig("a")
    answer = rig.ask("a")
    await anext(answer)
    rig.lifecycle.remove("a")
    with pytest.raises(EngineUnavailable, match="removed"):
        await rig.engines["a"].tokenize(WORDS)
    assert [delta async for delta in answer][-1].end is not None
    async with asyncio.timeout(20):
        await rig.raw["a"].stopped.wait()
    await until(lambda: not rig.lifecycle.known("a"))
    assert rig.engines["a"].stats().state == "stopped"
    await rig.lifecycle.stop(1)


async def test_a_shutdown_tells_who_waits() -> None:
    rig = Rig("a")
    rig.raw["a"].let.clear()
    waiting = asyncio.create_task(rig.engines["a"].tokenize(WORDS))
    await asyncio.sleep(0)
    await rig.lifecycle.stop(1)
    with pytest.raises(EngineUnavailable, match="shutting down"):
        await waiting
    with pytest.raises(EngineUnavailable, match="shutting down"):
        await rig.engines["a"].tokenize(WORDS)


async def test_a_load_that_fails_is_tried_again_only_when_told() -> None:
    class Broken(Slow):
        async def start(self) -> None:
            raise LoadFailed("no")

    rig = Rig("a")
    rig.lifecycle.add("broken", "broken", Broken(), Footprint())
    engine = OnDemandEngine(Broken(), "broken", rig.lifecycle)
    with pytest.raises(EngineUnavailable, match="no"):
        await engine.start()
    with pytest.raises(EngineUnavailable, match="no"):
        await engine.start()
    with pytest.raises(LoadFailed):
        await rig.lifecycle.load("broken")
    await rig.lifecycle.stop(1)


async def test_thrashing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig("a", "b", patience_s=0, min_residency_s=60)
    await rig.engines["a"].start()
    pair = ["a", "b"]
    for _ in range(BURST):
        answer = rig.ask(pair[0])
        await anext(answer)
        other = asyncio.create_task(rig.engines[pair[1]].tokenize(WORDS))
        await asyncio.sleep(0)
        await answer.aclose()
        await other
        pair.reverse()
    answer = rig.ask(pair[0])
    await anext(answer)
    held = asyncio.create_task(rig.engines[pair[1]].tokenize(WORDS))
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0)
        await answer.aclose()
    assert "push each other out of memory" in caplog.text
    assert len(await rig.engines[pair[0]].tokenize(WORDS)) == 2  # it serves on meanwhile
    assert not held.done()
    held.cancel()
    await rig.lifecycle.stop(1)
