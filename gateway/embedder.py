"""The retrieval package's view of an embedding engine."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.config_files import Configuration
from gateway.toml import ConfigError
from models.engine import Engine
from models.errors import EngineUnavailable
from models.registry import Registry, ResidencyLimits
from models.settings import ModelSettings
from models.types import EmbedRequest

__all__ = ["BATCH", "EngineEmbedder", "running_embedder"]

OWNER = "(documents)"  # takes turns with those who ask for embeddings; no key has such a name
STOP_S = 10.0
BATCH = 64  # texts a request, so that a question need not wait for a whole document


class EngineEmbedder:
    """Implements `retrieval.types.Embedder`. The engine is asked for when it is first needed."""

    def __init__(self, engine: Callable[[], Engine], settings: ModelSettings) -> None:
        self._engine = engine
        self._identity = self.identity_of(settings)

    @staticmethod
    def identity_of(settings: ModelSettings) -> str:
        """What vectors of a model are marked with."""
        return f"{settings.id} ({settings.source})" if settings.source else settings.id

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def dimension(self) -> int:
        return self._known(self._engine().stats().dimension)

    @property
    def max_tokens(self) -> int:
        return self._known(self._engine().stats().context)

    async def embed(
        self, texts: Sequence[str], kind: Literal["query", "document"]
    ) -> NDArray[np.float32]:
        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), BATCH):
            batch = tuple(texts[start : start + BATCH])
            result = await self._engine().embed(EmbedRequest(batch, kind, OWNER))
            vectors = np.frombuffer(result.vectors, dtype="<f4").astype(np.float32)
            rows.append(vectors.reshape(-1, result.dimension))
        if not rows:
            return np.zeros((0, self.dimension), np.float32)
        return np.concatenate(rows)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        # In one message: each waits for the forward pass that is at work.
        return await self._engine().count_tokens(texts) if texts else []

    def _known(self, value: int | None) -> int:
        if value is None:
            raise EngineUnavailable(f"The embedder {self._identity} is not ready.", 1.0)
        return value


@asynccontextmanager
async def running_embedder(found: Configuration) -> AsyncGenerator[EngineEmbedder]:
    """The configured embedder, loaded with nothing else. Raises ConfigError, ModelError."""
    name = found.settings.retrieval.embedder
    if name not in found.models:
        raise ConfigError(f"{found.source}: retrieval.embedder: no model '{name}'.")
    model = found.models[name]
    limits = ResidencyLimits(preload=(name,))
    registry = Registry({name: model}, found.data_dir, base=found.directory, limits=limits)
    try:
        await registry.start()
        await registry.get(name).start()
        yield EngineEmbedder(lambda: registry.get(name), model)
    finally:
        await registry.stop(STOP_S)
