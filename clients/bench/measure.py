"""From the times of single requests to the figures of a table. Pure.

A round in which a request failed is void: it had less to do, and would count as fast.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

__all__ = [
    "Cell",
    "Inner",
    "Percentiles",
    "Ratio",
    "Sample",
    "Wave",
    "interference",
    "percentile",
    "ratios",
    "split_by_prefill",
    "summarise",
    "wall_times",
]


class Sample(Struct, kw_only=True):
    """One request. Times in seconds; `units` are tokens, or texts of an embeddings request."""

    began: float = 0.0  # since the round began
    units: int = 0
    prompt_tokens: int = 0
    duration: float = 0.0
    first: float | None = None  # from the request's beginning until the first text
    gaps: list[float] = []  # between one piece of text and the next of the same choice
    cut: bool = False  # ended for its length
    invalid: str | None = None  # what is wrong with an answer that was to be JSON and had an end
    error: str | None = None


class Wave(Struct, kw_only=True):
    """The requests of one round that ran together, and the seconds from first to last."""

    case: str
    turn: int
    samples: list[Sample]
    seconds: float

    @property
    def void(self) -> bool:
        """A request failed, or there was nothing to time."""
        return self.seconds <= 0 or any(sample.error for sample in self.samples)


class Percentiles(Struct, kw_only=True):
    """Milliseconds; None where nothing was timed."""

    p50: float | None
    p95: float | None
    p99: float | None


class Cell(Struct, kw_only=True):
    """A server in one case, all rounds together. What is not a count is of the valid rounds."""

    server: str
    case: str
    clients: int
    requests: int
    errors: int
    first_error: str | None
    invalid: int
    first_invalid: str | None
    cut: int
    prompt_tokens: int  # mean of a request
    units_per_request: float
    units_per_s: float | None  # the median round; None where every round is void
    seconds: float | None  # of the median round
    ttft_ms: Percentiles
    inter_token_ms: Percentiles
    latency_ms: Percentiles
    rounds: list[float | None]  # units per second of each round; None if void


class Ratio(Struct, kw_only=True):
    """The first server's throughput over a peer's, of rounds that ran side by side."""

    peer: str
    case: str
    median: float | None
    low: float | None
    high: float | None
    rounds: int  # that count: void ones do not


class Inner(Struct, kw_only=True):
    """A ratio between two cases of one server, round by round."""

    server: str
    name: str
    median: float | None
    low: float | None
    high: float | None
    rounds: int


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(server: str, case: str, clients: int, waves: Sequence[Wave]) -> Cell:
    """All rounds of a server in one case."""
    every = [sample for wave in waves for sample in wave.samples]
    valid = [wave for wave in waves if not wave.void]
    good = [sample for wave in valid for sample in wave.samples]
    prompts = [sample.prompt_tokens for sample in good if sample.prompt_tokens]
    rounds = [None if wave.void else _rate(wave) for wave in waves]
    counted = [rate for rate in rounds if rate is not None]
    invalid = [sample.invalid for sample in every if sample.invalid]
    return Cell(
        server=server,
        case=case,
        clients=clients,
        requests=len(every),
        errors=sum(sample.error is not None for sample in every),
        first_error=next((sample.error for sample in every if sample.error), None),
        invalid=len(invalid),
        first_invalid=next(iter(invalid), None),
        cut=sum(sample.cut for sample in every),
        prompt_tokens=round(_per(sum(prompts), len(prompts))),
        units_per_request=_per(sum(sample.units for sample in good), len(good)),
        units_per_s=statistics.median(counted) if counted else None,
        seconds=statistics.median(wave.seconds for wave in valid) if valid else None,
        ttft_ms=_percentiles(sample.first for sample in good if sample.first is not None),
        inter_token_ms=_percentiles(gap for sample in good for gap in sample.gaps),
        latency_ms=_percentiles(sample.duration for sample in good),
        rounds=rounds,
    )


def ratios(cells: Sequence[Cell], server: str) -> list[Ratio]:
    """`server` against every other one, case by case. A pair with a void round does not count."""
    made: list[Ratio] = []
    for mine in (cell for cell in cells if cell.server == server):
        for other in cells:
            if other.server != server and other.case == mine.case:
                paired = [a / b for a, b in zip(mine.rounds, other.rounds, strict=True) if a and b]
                middle, low, high = _spread(paired)
                made.append(
                    Ratio(
                        peer=other.server,
                        case=mine.case,
                        median=middle,
                        low=low,
                        high=high,
                        rounds=len(paired),
                    )
                )
    return made


def wall_times(server: str, waves: Sequence[Wave], baseline: str) -> list[Inner]:
    """Seconds of each case over those of the case `baseline` in the same round."""
    base = {wave.turn: wave for wave in waves if wave.case == baseline}
    made: list[Inner] = []
    for case in dict.fromkeys(wave.case for wave in waves if wave.case != baseline):
        paired = [
            wave.seconds / base[wave.turn].seconds
            for wave in waves
            if wave.case == case and wave.turn in base and not (wave.void or base[wave.turn].void)
        ]
        made.append(_inner(server, f"wall time, {case} over {baseline}", paired))
    return made


def split_by_prefill(waves: Sequence[Wave]) -> list[Wave]:
    """Each round of streams with a prompt that ran into them, as two: before it and during it.

    The last sample of a round is the prompt's. The prefill lasts from its request until its first
    token, and a gap belongs to it if any part does. Alone counts from when all streams run. `units`
    are then the gaps, one a token.
    """
    return [part for wave in waves for part in _split(wave)]


def _split(wave: Wave) -> list[Wave]:
    *streams, prompt = wave.samples
    if wave.void:
        return [_part(wave, streams, "alone", 0.0), _part(wave, [prompt], "prefill", 0.0)]
    # One token need not be text: then the answer's end is as near to the prefill's as is known.
    prefill = prompt.duration if prompt.first is None else prompt.first
    begin, end = prompt.began, prompt.began + prefill
    running = max(stream.began + (stream.first or 0.0) for stream in streams)
    alone = [_gaps(stream, lambda at, to: at >= running and to <= begin) for stream in streams]
    during = [_gaps(stream, lambda at, to: at < end and to > begin) for stream in streams]
    return [
        _part(wave, alone, "alone", begin - running),
        _part(wave, [*during, prompt], "prefill", prefill),
    ]


def interference(server: str, waves: Sequence[Wave], streams: str) -> list[Inner]:
    """The streams' p99 gap during a prefill over their median gap, without it and during it."""
    by_turn = {(wave.case, wave.turn): wave for wave in waves if not wave.void}
    names = _parted(streams, "alone"), _parted(streams, "prefill")
    over_alone: list[float] = []
    over_during: list[float] = []
    for turn in sorted({wave.turn for wave in waves}):
        alone, during = (by_turn.get((name, turn)) for name in names)
        if alone is not None and during is not None:
            usual = percentile((gap for s in alone.samples for gap in s.gaps), 0.50)
            slowed = percentile((gap for s in during.samples for gap in s.gaps), 0.50)
            worst = percentile((gap for s in during.samples for gap in s.gaps), 0.99)
            if usual and slowed and worst:
                over_alone.append(worst / usual)
                over_during.append(worst / slowed)
    return [
        _inner(server, f"{streams}: gap p99 in a prefill over p50 alone", over_alone),
        _inner(server, f"{streams}: gap p99 in a prefill over p50 in it", over_during),
    ]


def _gaps(stream: Sample, counts: Callable[[float, float], bool]) -> Sample:
    """The part of a stream whose gaps count, given when each began and ended."""
    at = stream.began + (stream.first or 0.0)
    found: list[float] = []
    for gap in stream.gaps:
        if counts(at, at + gap):
            found.append(gap)
        at += gap
    return Sample(began=stream.began, units=len(found), gaps=found)


def _part(wave: Wave, samples: list[Sample], part: str, seconds: float) -> Wave:
    return Wave(case=_parted(wave.case, part), turn=wave.turn, samples=samples, seconds=seconds)


def _parted(case: str, part: str) -> str:
    return f"{case}, {part}"


def _inner(server: str, name: str, paired: Sequence[float]) -> Inner:
    middle, low, high = _spread(paired)
    return Inner(server=server, name=name, median=middle, low=low, high=high, rounds=len(paired))


def _spread(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not values:
        return None, None, None
    return statistics.median(values), min(values), max(values)


def _rate(wave: Wave) -> float:
    return _per(sum(sample.units for sample in wave.samples), wave.seconds)


def _percentiles(seconds: Iterable[float]) -> Percentiles:
    values = [value * 1000 for value in seconds]
    return Percentiles(
        p50=percentile(values, 0.50), p95=percentile(values, 0.95), p99=percentile(values, 0.99)
    )


def _per(amount: float, of: float) -> float:
    return amount / of if of else 0.0
