"""The limit on a request's time: what it ends, and what it leaves alone."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.deadline import finished_within, within
from models.errors import RequestTimeout

AT_ONCE = 0.001
NEVER = 3600.0


class Source:
    """Two items, then silence until it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_a_source_that_falls_silent_is_closed_at_the_deadline() -> None:
    source = Source()
    limited = within(0.2, source.run())
    assert [await anext(limited), await anext(limited)] == [1, 2]
    with pytest.raises(RequestTimeout, match=r"0\.2 s.*request_timeout_s"):
        await anext(limited)
    assert source.closed


async def test_who_stops_reading_closes_the_source() -> None:
    source = Source()
    limited = within(NEVER, source.run())
    assert await anext(limited) == 1
    await limited.aclose()
    assert source.closed


@pytest.mark.parametrize("limit_s", [None, NEVER])
async def test_what_ends_in_time_ends_as_it_does(limit_s: float | None) -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    assert [item async for item in within(limit_s, numbers())] == [0, 1, 2]
    assert await finished_within(limit_s, asyncio.sleep(0, "done")) == "done"


async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await finished_within(NEVER, work())


async def test_work_is_cancelled_at_the_deadline() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(RequestTimeout):
        await finished_within(AT_ONCE, work())
    assert cancelled.is_set()
