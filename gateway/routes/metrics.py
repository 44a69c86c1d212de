"""GET /metrics, for Prometheus."""

from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from gateway.metrics import CONTENT_TYPE, Metrics

__all__ = ["metrics"]


@get("/metrics")
async def metrics(metrics: NamedDependency[Metrics]) -> ASGIApp:
    """Every figure, read now."""
    return ASGIResponse(body=metrics.text(), media_type=CONTENT_TYPE)
