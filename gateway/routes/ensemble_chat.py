"""A chat request answered by an ensemble."""

from typing import Any

from litestar import Request
from litestar.types import ASGIApp

from gateway.ensemble.pipeline import Ensemble
from gateway.runtime import Runtime
from gateway.schema.chat import ChatRequest

__all__ = ["answer"]


async def answer(
    request: Request[Any, Any, Any],
    body: ChatRequest,
    ensemble: Ensemble,
    owner: str,
    runtime: Runtime,
) -> ASGIApp:
    """In one piece or as a stream."""
    raise NotImplementedError
