"""The catalog read again while the gateway runs: POST /models/reload, and SIGHUP."""

import asyncio
from collections.abc import Callable

from gateway.config_files import Configuration
from gateway.toml import ConfigError
from models.registry import Changes, Registry

__all__ = ["Catalog"]


class Catalog:
    """configs/models and configs/ensembles, as they are and as they were served last.

    `read` reads the whole configuration. Of gateway.toml nothing is taken over: that takes a start.
    """

    def __init__(
        self,
        registry: Registry,
        served: Configuration,
        read: Callable[[], Configuration],
        serve: Callable[[Configuration], None],
    ) -> None:
        self._registry = registry
        self._served = served
        self._read = read
        self._serve = serve
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> Changes:
        """Serve what the files say now. Raises ConfigError, SourceError; all stays as it was then.

        A changed ensemble serves the requests to come; see `Registry.reload` for models.
        """
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._read)
            self._check_embedder(found)
            models = self._registry.reload(found.models)
            before, after = self._served.ensembles, found.ensembles
            self._serve(found)
            self._served = found
        return Changes(
            added=(*models.added, *(name for name in after if name not in before)),
            removed=(*models.removed, *(name for name in before if name not in after)),
            changed=(
                *models.changed,
                *(name for name in after if name in before and after[name] != before[name]),
            ),
        )

    def _check_embedder(self, found: Configuration) -> None:
        """The vectors of all documents are the embedder's."""
        embedder = self._served.settings.retrieval.embedder
        before, after = self._served.models.get(embedder), found.models.get(embedder)
        if before is not None and (after is None or after.source != before.source):
            raise ConfigError(
                f"The model '{embedder}' embeds the documents (retrieval.embedder); to remove it "
                "or to change its source, start the gateway anew."
            )
