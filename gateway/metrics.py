"""GET /metrics: what the gateway and its models have done, in Prometheus' text format."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.engines.on_demand import Served
from models.sizes import sizes
from models.types import EngineStats

__all__ = ["CONTENT_TYPE", "Metrics", "RouteMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("unloaded", "loading", "ready", "failed")
SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PAGE_BYTES = 4096

# Of `Served`: attribute, name, what it counts.
COUNTED = (
    ("requests", "jurat_model_requests", "Requests answered in full"),
    ("prompt_tokens", "jurat_model_prompt_tokens", "Tokens of prompts and embedded texts"),
    ("cached_tokens", "jurat_model_cached_tokens", "Of these, found in the prefix cache"),
    ("cache_hits", "jurat_model_prefix_cache_hits", "Requests that found some there"),
    ("completion_tokens", "jurat_model_completion_tokens", "Tokens generated"),
    ("queue_s", "jurat_model_queue_seconds", "Time that requests waited for a loaded model"),
    ("prefill_s", "jurat_model_prefill_seconds", "Time in which prompts were computed"),
    ("decode_s", "jurat_model_decode_seconds", "Time in which tokens were generated"),
)


class Readings(Protocol):
    """What is used of `models.registry.Registry`."""

    def stats(self) -> dict[str, EngineStats]: ...
    def served(self) -> dict[str, Served]: ...


class Metrics:
    """One gateway's. `routes` counts what `RouteMetrics` sees."""

    def __init__(self, registry: Readings) -> None:
        self._collectors = CollectorRegistry(auto_describe=False)
        self._collectors.register(_Models(registry))
        ProcessCollector(registry=self._collectors)
        self.requests = Counter(
            "jurat_http_requests",
            "Requests by route and status",
            ["method", "route", "status"],
            registry=self._collectors,
        )
        self.seconds = Histogram(
            "jurat_http_request_seconds",
            "From a request's head to the end of its answer",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._collectors,
        )

    def text(self) -> bytes:
        """A reading of now."""
        return generate_latest(self._collectors)


class RouteMetrics:
    """An ASGI layer that counts requests and their time by route, never by path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 499  # the client went before anything was sent

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            # Methods and paths are the client's text; the router's template is not.
            route = str(scope.get("path_template") or "other")
            method = str(scope["method"]) if route != "other" else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(method, route).observe(time.perf_counter() - began)


class _Models(Collector):
    """Reads every model when it is asked."""

    def __init__(self, registry: Readings) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        stats, served = self._registry.stats(), self._registry.served()
        yield _states(stats)
        yield from _gauges(stats)
        yield from _memory(stats)
        for attribute, name, text in COUNTED:
            counted = CounterMetricFamily(name, text, labels=["model"])
            for model, one in served.items():
                counted.add_metric([model], float(getattr(one, attribute)))
            yield counted
        yield _speed(served)


def _states(stats: dict[str, EngineStats]) -> Metric:
    found = GaugeMetricFamily("jurat_model_state", "1 for its state now", labels=["model", "state"])
    for model, one in stats.items():
        for state in STATES:
            found.add_metric([model, state], float(one.state == state))
    return found


def _gauges(stats: dict[str, EngineStats]) -> Iterator[Metric]:
    running = GaugeMetricFamily("jurat_model_running", "Requests being decoded", labels=["model"])
    waiting = GaugeMetricFamily("jurat_model_waiting", "Requests that wait", labels=["model"])
    load = GaugeMetricFamily(
        "jurat_model_load_seconds", "How long the last load took", labels=["model"]
    )
    loads = CounterMetricFamily("jurat_model_loads", "Times it was loaded", labels=["model"])
    evictions = CounterMetricFamily(
        "jurat_model_evictions", "Times it made room for another", labels=["model"]
    )
    restarts = CounterMetricFamily(
        "jurat_model_restarts", "Times its worker was started again", labels=["model"]
    )
    for model, one in stats.items():
        running.add_metric([model], one.running)
        waiting.add_metric([model], one.waiting)
        loads.add_metric([model], one.loads)
        evictions.add_metric([model], one.evictions)
        restarts.add_metric([model], one.restarts)
        if one.load_s is not None:
            load.add_metric([model], one.load_s)
    yield from (running, waiting, load, loads, evictions, restarts)


def _memory(stats: dict[str, EngineStats]) -> Iterator[Metric]:
    planned = GaugeMetricFamily(
        "jurat_model_planned_bytes", "Memory planned for it", labels=["model", "device"]
    )
    resident = GaugeMetricFamily(
        "jurat_model_resident_bytes",
        "Memory of its process now, mapped files included",
        labels=["model"],
    )
    for model, one in stats.items():
        for device, size in sizes(one.memory).items() if one.memory is not None else ():
            planned.add_metric([model, "host" if device < 0 else str(device)], size)
        size = _resident(one.pid)
        if size is not None:
            resident.add_metric([model], size)
    yield from (planned, resident)


def _speed(served: dict[str, Served]) -> Metric:
    found = GaugeMetricFamily(
        "jurat_model_tokens_per_second",
        "Tokens generated a second of a request, the mean since the start",
        labels=["model"],
    )
    for model, one in served.items():
        if one.decode_s > 0:
            found.add_metric([model], one.completion_tokens / one.decode_s)
    return found


def _resident(pid: int | None) -> int | None:
    """Bytes, where the system tells."""
    if pid is None:
        return None
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None  # it has just ended, or this is no Linux
