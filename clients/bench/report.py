"""What a workload came to: what is printed, plotted and saved. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from clients.bench.load import Lacking, Plan, Run
from clients.bench.measure import (
    Cell,
    Inner,
    Ratio,
    Wave,
    interference,
    ratios,
    split_by_prefill,
    summarise,
    wall_times,
)
from clients.bench.workload import Unit

__all__ = ["Report", "report_of"]


class Report(Struct, kw_only=True):
    """One workload. `waves` has every request's own times, by server."""

    workload: str
    says: str
    model: str
    unit: Unit
    concurrency: list[int]
    tokens: int
    rounds: int
    seed: int
    results: list[Cell]
    ratios: list[Ratio]
    inner: list[Inner]
    lacking: list[Lacking]
    waves: dict[str, list[Wave]]

    @property
    def failed(self) -> bool:
        """A request failed, or an answer that was to be JSON is not."""
        return any(cell.errors or cell.invalid for cell in self.results)


def report_of(plan: Plan, servers: Sequence[str], run: Run) -> Report:
    """The figures of a run; the first server is the one that the others are compared with."""
    made_by = plan.made_by
    clients = {case.name: case.clients for case in plan.cases}
    waves, inner = run.waves, list[Inner]()
    if made_by.interferes:
        waves = {server: split_by_prefill(run.waves[server]) for server in servers}
        inner = [
            each
            for server in servers
            for case in clients
            if not run.lacks(server, case)
            for each in interference(server, waves[server], case)
        ]
        clients = {
            wave.case: clients[_whole(wave.case)] for each in waves.values() for wave in each
        }
    elif made_by.baseline is not None:
        inner = [
            each
            for server in servers
            for each in wall_times(server, waves[server], made_by.baseline)
        ]
    cells = [
        summarise(server, case, clients[case], found)
        for case in clients
        for server in servers
        if (found := [wave for wave in waves[server] if wave.case == case])
    ]
    return Report(
        workload=plan.workload,
        says=made_by.says,
        model=plan.model,
        unit=made_by.unit,
        concurrency=list(plan.concurrency),
        tokens=plan.tokens,
        rounds=plan.rounds,
        seed=plan.seed,
        results=cells,
        ratios=ratios(cells, servers[0]),
        inner=inner,
        lacking=run.lacking,
        waves=run.waves,
    )


def _whole(part: str) -> str:
    return part.rpartition(", ")[0]
