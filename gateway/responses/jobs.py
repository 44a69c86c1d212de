"""Responses in the background: they go on without their client."""

import asyncio
from collections.abc import AsyncGenerator

from gateway.disconnect import cancel
from gateway.errors import ApiError, to_api_error
from gateway.responses.archive import Archive
from gateway.responses.turn import Turn
from gateway.schema.response_events import ResponseEvent
from gateway.schema.responses import Response

__all__ = ["Job", "Jobs"]

RETRY_AFTER_S = 5


class Job:
    """A response in the background, with all its events so far."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._events: list[ResponseEvent] = []
        self._more = asyncio.Event()  # replaced at each event: who waits, waits for the next
        self._over = False

    async def run(self) -> None:
        """To the end, which is kept, whatever it is."""
        try:
            async for event in self.turn.events():
                self._events.append(event)
                self._tell()
        except Exception as error:
            await self.turn.failed_to_begin(to_api_error(error))
        finally:
            self._over = True
            self._tell()

    async def follow(self, after: int) -> AsyncGenerator[ResponseEvent, None]:
        """Its events after the one of that number, as they come."""
        at = after + 1
        while True:
            more = self._more
            for event in self._events[at:]:
                yield event
                at += 1
            if at >= len(self._events):
                if self._over:
                    return
                if more is self._more:
                    await more.wait()

    def _tell(self) -> None:
        told, self._more = self._more, asyncio.Event()
        told.set()


class Jobs:
    """What runs in the background. `most` at once for an owner."""

    def __init__(self, archive: Archive, most: int) -> None:
        self._archive = archive
        self._most = most
        self._jobs: dict[str, tuple[Job, asyncio.Task[None]]] = {}

    async def start(self, turn: Turn) -> Job:
        """Begins a response that was checked, and keeps it first. Raises ApiError (429)."""
        running = [job for job, _ in self._jobs.values() if job.turn.owner == turn.owner]
        if len(running) >= self._most:
            raise ApiError(
                429,
                f"{len(running)} responses run in the background, as many as one key may have "
                "(responses.max_background).",
                kind="rate_limit_error",
                code="queue_full",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        response_id = turn.response.id
        job = Job(turn)
        begun = asyncio.Event()

        async def run() -> None:
            await begun.wait()
            await job.run()

        task = asyncio.create_task(run())
        self._jobs[response_id] = job, task
        task.add_done_callback(lambda _: self._jobs.pop(response_id, None))
        try:
            await turn.begin()
        except BaseException:
            task.cancel()
            raise
        begun.set()
        return job

    def find(self, owner: str, response_id: str) -> Job | None:
        """A job of that owner's that is not over."""
        found = self._jobs.get(response_id)
        return found[0] if found is not None and found[0].turn.owner == owner else None

    async def cancel(self, owner: str, response_id: str) -> Response:
        """Ends it; one that is over stays as it is. Raises ApiError (404, 400)."""
        response = await self._archive.response(owner, response_id)
        if not response.background:
            message = (
                f"The response '{response_id}' does not run in the background; one that does not "
                "is cancelled by closing its connection."
            )
            raise ApiError(400, message, code="not_in_background", param="response_id")
        found = self._jobs.get(response_id)
        if found is not None:
            job, task = found
            await cancel(task)
            response = await self._archive.response(owner, response_id)
            if response.status == "in_progress":
                await job.turn.cancelled()
        return await self._archive.response(owner, response_id)

    async def stop(self) -> None:
        """Breaks all off."""
        await cancel(*(task for _, task in self._jobs.values()))
