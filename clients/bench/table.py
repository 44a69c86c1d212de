"""The figures of a run as tables for people."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.bench.measure import Cell, Percentiles, Ratio
from clients.bench.questions import Score
from clients.show import clean

__all__ = ["show_figures", "show_results", "show_scores"]


def show_results(
    out: Console, cells: Sequence[Cell], ratios: Sequence[Ratio], *, embeddings: bool
) -> None:
    """Print a table of the servers and one of their ratios."""
    unit = "texts" if embeddings else "tokens"
    times = ("latency ms",) if embeddings else ("TTFT ms", "gap ms")
    table = _table(
        "server", "streams", f"{unit}/s", "req/s", f"{unit}/req", "prompt", *times, "errors"
    )
    for cell in cells:
        timed = [cell.latency_ms] if embeddings else [cell.ttft_ms, cell.inter_token_ms]
        table.add_row(
            Text(clean(cell.server)),
            str(cell.concurrency),
            f"{cell.units_per_s:.1f}",
            f"{cell.requests_per_s:.2f}",
            f"{cell.units_per_request:.1f}",
            str(cell.prompt_tokens),
            *(_pair(measured) for measured in timed),
            str(cell.errors),
        )
    out.print(table)
    out.print(
        "prompt: tokens of a request; times: p50/p99; gap: from one piece of text to the next",
        style="dim",
        soft_wrap=True,
    )
    for cell in cells:
        if cell.first_error:
            out.print(f"{clean(cell.server)}, {cell.concurrency}: {clean(cell.first_error)}")
    if ratios:
        out.print()
        _show_ratios(out, cells[0].server, ratios, unit)


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


def _show_ratios(out: Console, server: str, ratios: Sequence[Ratio], unit: str) -> None:
    table = _table("ratio to", "streams", f"{unit}/s", "lowest round", "highest round")
    for ratio in ratios:
        numbers = (ratio.units_per_s, ratio.low, ratio.high)
        table.add_row(
            Text(clean(ratio.peer)),
            str(ratio.concurrency),
            *("-" if number is None else f"{number:.2f}" for number in numbers),
        )
    out.print(table)
    out.print(f"above 1: {clean(server)} is faster", style="dim")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _pair(times: Percentiles) -> str:
    return "-" if times.p50 is None or times.p99 is None else f"{times.p50:.0f}/{times.p99:.0f}"
