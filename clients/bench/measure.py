"""From the times of single requests to the figures of a table. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

__all__ = ["Cell", "Percentiles", "Ratio", "Sample", "Wave", "percentile", "ratios", "summarise"]


class Sample(Struct, kw_only=True):
    """One request. Times in seconds; `units` are tokens, or texts of an embeddings request."""

    units: int = 0
    prompt_tokens: int = 0
    duration: float = 0.0
    first: float | None = None  # until the first text
    gaps: list[float] = []  # between one piece of text and the next
    error: str | None = None


class Wave(Struct, kw_only=True):
    """The requests of one round that ran together, and the seconds from first to last."""

    samples: list[Sample]
    seconds: float


class Percentiles(Struct, kw_only=True):
    """Milliseconds; None where nothing was timed."""

    p50: float | None
    p99: float | None


class Cell(Struct, kw_only=True):
    """A server at one concurrency, all rounds together."""

    server: str
    concurrency: int
    requests: int
    errors: int
    first_error: str | None
    prompt_tokens: int  # mean of a request
    units: int
    units_per_request: float
    seconds: float
    units_per_s: float
    requests_per_s: float
    ttft_ms: Percentiles
    inter_token_ms: Percentiles
    latency_ms: Percentiles
    rounds: list[float]  # units per second of each round


class Ratio(Struct, kw_only=True):
    """The first server's throughput over a peer's; `low` and `high` are the extreme rounds."""

    peer: str
    concurrency: int
    units_per_s: float | None
    low: float | None
    high: float | None


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(server: str, concurrency: int, waves: Sequence[Wave]) -> Cell:
    """All rounds of a server at one concurrency. A failed request counts only as an error."""
    every = [sample for wave in waves for sample in wave.samples]
    good = [sample for sample in every if sample.error is None]
    seconds = sum(wave.seconds for wave in waves)
    units = sum(sample.units for sample in good)
    return Cell(
        server=server,
        concurrency=concurrency,
        requests=len(every),
        errors=len(every) - len(good),
        first_error=next((sample.error for sample in every if sample.error), None),
        prompt_tokens=round(_per(sum(sample.prompt_tokens for sample in good), len(good))),
        units=units,
        units_per_request=_per(units, len(good)),
        seconds=seconds,
        units_per_s=_per(units, seconds),
        requests_per_s=_per(len(good), seconds),
        ttft_ms=_percentiles(sample.first for sample in good if sample.first is not None),
        inter_token_ms=_percentiles(gap for sample in good for gap in sample.gaps),
        latency_ms=_percentiles(sample.duration for sample in good),
        rounds=[
            _per(sum(s.units for s in wave.samples if s.error is None), wave.seconds)
            for wave in waves
        ],
    )


def ratios(cells: Sequence[Cell], peers: Sequence[str], server: str) -> list[Ratio]:
    """`server` against each peer at each concurrency. Rounds are paired: they ran side by side."""
    found: Mapping[tuple[str, int], Cell] = {
        (cell.server, cell.concurrency): cell for cell in cells
    }
    made: list[Ratio] = []
    for cell in (cell for cell in cells if cell.server == server):
        for peer in peers:
            other = found[peer, cell.concurrency]
            paired = [
                mine / theirs
                for mine, theirs in zip(cell.rounds, other.rounds, strict=True)
                if theirs
            ]
            whole = cell.units_per_s / other.units_per_s if other.units_per_s else None
            made.append(
                Ratio(
                    peer=peer,
                    concurrency=cell.concurrency,
                    units_per_s=whole,
                    low=min(paired, default=None),
                    high=max(paired, default=None),
                )
            )
    return made


def _percentiles(seconds: Iterable[float]) -> Percentiles:
    values = [value * 1000 for value in seconds]
    return Percentiles(p50=percentile(values, 0.50), p99=percentile(values, 0.99))


def _per(amount: float, of: float) -> float:
    return amount / of if of else 0.0
