"""What the routes of responses and conversations share."""

from gateway.responses.archive import Archive
from gateway.responses.jobs import Jobs
from gateway.responses.queueing import OneAtATime
from gateway.responses.turn import Desk
from gateway.runtime import Runtime
from gateway.settings import ServerSettings

__all__ = ["Responder"]


class Responder:
    """Built by `gateway.app`; the routes get it by injection."""

    def __init__(self, runtime: Runtime, archive: Archive) -> None:
        settings = runtime.settings.responses
        self.desk = Desk(runtime, archive, settings, OneAtATime())
        self.jobs = Jobs(archive, settings.max_background)

    @property
    def server(self) -> ServerSettings:
        """How the gateway listens."""
        return self.desk.runtime.settings.server

    async def stop(self) -> None:
        """Breaks off what runs in the background."""
        await self.jobs.stop()

    def close(self) -> None:
        """Nothing is kept from here on."""
        self.desk.archive.close()
