"""Fills the stores of gateway.toml at the first start, in the background."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.auth import LOCAL_OWNER
from gateway.disconnect import cancel
from gateway.settings import StoreSettings
from models.engine import Engine
from models.errors import ModelError
from retrieval.errors import RetrievalError
from retrieval.library import Library

__all__ = ["Progress", "Seeding", "StoreState"]

log = logging.getLogger("jurat.seeding")

StoreState = Literal["waiting", "ingesting", "ready", "failed"]
ATTEMPTS = 3  # a worker may die under an ingest, which then goes on where it was
FAILED_POLL_S = 2.0


class Progress(NamedTuple):
    """How far a store is filled."""

    state: StoreState
    detail: str = ""


class Seeding:
    """One task that fills one store after the other, once the embedder is loaded."""

    def __init__(
        self,
        library: Library,
        embedder: Callable[[], Engine],
        stores: Sequence[StoreSettings],
        base: Path,
    ) -> None:
        self._library = library
        self._embedder = embedder
        self._stores = stores
        self._base = base
        self._progress = {store.name: Progress("waiting") for store in stores}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        if self._stores:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Break off; the next start goes on."""
        if self._task is not None:
            await cancel(self._task)

    def progress(self) -> Mapping[str, Progress]:
        """Each store's state now."""
        return self._progress

    async def _run(self) -> None:
        for store in self._stores:
            try:
                self._progress[store.name] = await self._fill(store)
            except (RetrievalError, ModelError, OSError) as error:
                self._progress[store.name] = Progress("failed", str(error))
            except Exception:
                log.exception("store %s", store.name)
                self._progress[store.name] = Progress("failed", "Unexpected error; see the log.")
            state, detail = self._progress[store.name]
            log.log(
                logging.INFO if state == "ready" else logging.ERROR,
                "store %s: %s. %s",
                store.name,
                state,
                detail,
            )

    async def _fill(self, store: StoreSettings) -> Progress:
        paths = [(self._base / path).resolve() for path in store.paths]
        for attempt in range(ATTEMPTS):
            await self._embedder_ready(store.name)
            self._progress[store.name] = Progress("ingesting")
            try:
                report = await self._library.seed(store.name, paths, LOCAL_OWNER, store.read)
            except ModelError:
                if attempt == ATTEMPTS - 1:
                    raise
                log.warning("store %s: the embedder failed; going on", store.name, exc_info=True)
                await asyncio.sleep(FAILED_POLL_S)
                continue
            if report.failed:
                reasons = "; ".join(f"{name}: {reason}" for name, reason in report.failed)
                return Progress("failed", reasons)
            return Progress("ready", f"{len(report.added)} files added." if report.added else "")
        raise AssertionError("unreachable")

    async def _embedder_ready(self, store: str) -> None:
        while True:
            self._progress[store] = Progress("waiting", "The embedder is being loaded.")
            try:
                await self._embedder().start()
                return
            except ModelError as error:
                self._progress[store] = Progress("failed", str(error))
            await asyncio.sleep(FAILED_POLL_S)
