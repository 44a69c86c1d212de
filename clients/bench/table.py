"""The figures of a run as tables for people."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.bench.measure import Percentiles
from clients.bench.questions import Score
from clients.bench.report import Report
from clients.show import clean

__all__ = ["show_figures", "show_report", "show_scores"]


def show_report(out: Console, server: str, report: Report) -> None:
    """Print a workload: the servers, their ratios, and what could not be measured."""
    out.print(f"{report.workload}: {report.says} ({clean(report.model)})", style="bold")
    out.print(_rates(report))
    out.print(_waits(report))
    out.print(
        f"{report.unit}/s: the median round; prompt: tokens of a request; times: p50/p95/p99; "
        "gap: from one piece of text to the next",
        style="dim",
    )
    for cell in report.results:
        for problem in (cell.first_error, cell.first_invalid):
            if problem:
                out.print(f"{clean(cell.server)}, {cell.case}: {clean(problem)}", soft_wrap=True)
    for each in report.lacking:
        out.print(
            f"{clean(each.server)}, {each.case}: not supported: {clean(each.why)}", soft_wrap=True
        )
    out.print()
    if report.ratios:
        rows = [(r.peer, r.case, r.median, r.low, r.high, r.rounds) for r in report.ratios]
        out.print(_spreads("ratio to", f"{report.unit}/s", rows))
        out.print(
            f"above 1: {clean(server)} is faster; rounds that failed do not count", style="dim"
        )
        out.print()
    if report.inner:
        rows = [(i.server, i.name, i.median, i.low, i.high, i.rounds) for i in report.inner]
        out.print(_spreads("within", "ratio", rows))
        out.print()


def show_figures(out: Console, figures: Mapping[str, object]) -> None:
    """Print names and values below each other."""
    width = max(map(len, figures), default=0)
    for name, value in figures.items():
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        out.print(f"{name:<{width}}  {shown}", soft_wrap=True)


def show_scores(out: Console, scores: Sequence[Score]) -> None:
    """Print who was right how often."""
    table = _table("", "right", "value", "declined wrongly", "declined rightly", "s/question")
    for each in scores:
        table.add_row(
            Text(clean(each.name)),
            f"{each.right} of {each.answerable}",
            str(each.value),
            str(each.declined_wrongly),
            f"{each.declined} of {each.unanswerable}",
            "" if each.seconds is None else f"{each.seconds:.2f}",
        )
    out.print(table)
    out.print(
        "right: says the fact and cites its file; value: the short answer has the fact; "
        "a member: its own vote",
        style="dim",
        soft_wrap=True,
    )


def _rates(report: Report) -> Table:
    checked = report.workload == "structured"
    table = _table(
        "server",
        "case",
        f"{report.unit}/s",
        "rounds",
        "out/req",
        "prompt",
        *(("cut off", "invalid") if checked else ("s/round",)),
        "errors",
    )
    for cell in report.results:
        counted = [each for each in cell.rounds if each is not None]
        table.add_row(
            Text(clean(cell.server)),
            cell.case,
            _number(cell.units_per_s, 1),
            f"{min(counted):.1f} to {max(counted):.1f}" if counted else "-",
            f"{cell.units_per_request:.1f}",
            str(cell.prompt_tokens),
            *((str(cell.cut), str(cell.invalid)) if checked else (_number(cell.seconds, 2),)),
            str(cell.errors),
        )
    return table


def _waits(report: Report) -> Table:
    texts = report.unit == "texts"
    names = ("request ms",) if texts else ("TTFT ms", "gap ms")
    table = _table("server", "case", *names)
    for cell in report.results:
        timed = [cell.latency_ms] if texts else [cell.ttft_ms, cell.inter_token_ms]
        table.add_row(Text(clean(cell.server)), cell.case, *(_times(each) for each in timed))
    return table


def _spreads(
    first: str,
    figure: str,
    rows: Sequence[tuple[str, str, float | None, float | None, float | None, int]],
) -> Table:
    table = _table(first, "case", figure, "lowest round", "highest round", "rounds")
    for name, case, *numbers, rounds in rows:
        shown = (_number(number, 2) for number in numbers)
        table.add_row(Text(clean(name)), case, *shown, str(rounds))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(first, overflow="fold")
    for name in others:
        if name == "case":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _times(times: Percentiles) -> str:
    return "/".join(_number(value, 0) for value in (times.p50, times.p95, times.p99))
