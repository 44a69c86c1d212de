"""The server's own limit on how long a request may take, `server.request_timeout_s`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from models.errors import RequestTimeout

__all__ = ["finished_within", "within"]

T = TypeVar("T")


def within(limit_s: float | None, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """What `source` yields until `limit_s` from now; then it is closed and RequestTimeout raised.

    None is no limit.
    """
    if limit_s is None:
        return source
    return _until(asyncio.get_running_loop().time() + limit_s, limit_s, source)


async def finished_within(limit_s: float | None, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled after `limit_s`. Raises RequestTimeout then."""
    if limit_s is None:
        return await work
    async with _before(asyncio.get_running_loop().time() + limit_s, limit_s):
        return await work


async def _until(
    deadline: float, limit_s: float, source: AsyncGenerator[T, None]
) -> AsyncGenerator[T, None]:
    async with aclosing(source):
        while True:
            # Around each item and not the whole loop: between items other code runs, perhaps in
            # another task, and that must not be interrupted.
            async with _before(deadline, limit_s):
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
            yield item


@asynccontextmanager
async def _before(deadline: float, limit_s: float) -> AsyncGenerator[None, None]:
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise
        raise RequestTimeout(
            f"The request was not done within {limit_s:g} s, this server's limit "
            "(server.request_timeout_s). Ask for less, or raise the limit."
        ) from None
