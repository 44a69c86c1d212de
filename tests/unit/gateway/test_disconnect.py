"""Work that does not stream ends with its client, too."""

import asyncio
from typing import Any

import pytest

from gateway.disconnect import until_disconnect
from gateway.errors import ClientGone


async def never() -> dict[str, Any]:
    return await asyncio.Future()


async def test_the_result_and_the_error_come_through() -> None:
    async def work() -> int:
        return 7

    async def failing() -> int:
        raise KeyError("x")

    assert await until_disconnect(never, work()) == 7  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        await until_disconnect(never, failing())  # type: ignore[arg-type]


async def test_a_client_that_goes_cancels_the_work() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Future()
        finally:
            cancelled.set()

    async def receive() -> dict[str, Any]:
        await started.wait()
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await until_disconnect(receive, work())  # type: ignore[arg-type]
    assert cancelled.is_set()
