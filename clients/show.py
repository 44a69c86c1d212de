"""Prints an answer for people: the deliberation dimmed, the answer, its sources and the votes."""

import os
import re
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.answer import Answer
from gateway.schema.ensemble import EnsembleReport, Source, Vote

__all__ = ["Printer", "clean", "console", "percent", "place", "said", "short"]

PIPE_WIDTH = 100  # columns where there is no terminal to ask; COLUMNS overrides
SHORT_TEXT = 160

# Documents and models are not trusted with the terminal: escape sequences could rewrite the screen.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(file: IO[str] | None = None, *, stderr: bool = False) -> Console:
    """A console that colours only on a terminal."""
    made = Console(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = PIPE_WIDTH
    return made


class Printer:
    """Prints the parts as they arrive. `quiet`: the answer alone."""

    def __init__(self, out: Console, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._last = ""  # the part printed last, and whether its line is open
        self._open = False

    def reasoning(self, text: str) -> None:
        """The next words of the deliberation."""
        if not self._quiet:
            self._part("reasoning", text, "dim")

    def answer(self, text: str) -> None:
        """The next words of the answer."""
        self._part("answer", text, "")

    def end(self, answer: Answer) -> None:
        """What stands under the answer."""
        if self._open:
            self._out.print()
        if self._quiet:
            return
        report = answer.report()
        if report is not None:
            self._out.print()
            self._sources(report)
            self._votes(report)
        elif answer.ensemble is not None:
            self._out.print("\nThis gateway's ensemble object is of another version; see --json.")
        if answer.finish_reason == "length":
            self._out.print("(cut at the token limit; see --max-tokens)", style="dim")

    def _part(self, part: str, text: str, style: str) -> None:
        shown = clean(text)
        if not shown:
            return
        if self._last and self._last != part:
            self._out.print("\n" if self._open else "")
        self._last = part
        # soft_wrap: the terminal breaks the line, so words may arrive in pieces
        self._out.print(Text(shown, style=style), end="", soft_wrap=True)
        self._open = not shown.endswith("\n")

    def _sources(self, report: EnsembleReport) -> None:
        heading = "The nearest passages, which do not say it" if report.is_blank else "Sources"
        self._out.print(heading, style="bold")
        if not report.sources:
            self._out.print("  none")
        for source in report.sources:
            self._out.print(
                Text.assemble(
                    f"  [{source.n}] ",
                    (clean(place(source)), "cyan"),
                    (f"  score {source.score:.3f}", "dim"),
                ),
                soft_wrap=True,
            )
            self._out.print(Text(f"      {short(source.text)}", style="dim"), soft_wrap=True)
        self._out.print()

    def _votes(self, report: EnsembleReport) -> None:
        self._out.print("Votes", style="bold")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        table.add_column("model", overflow="fold")
        table.add_column("value", overflow="fold", ratio=2)
        table.add_column("grounded")
        table.add_column("ms", justify="right")
        if any(vote.error for vote in report.votes):
            table.add_column("error", overflow="fold", ratio=2)
        for vote in report.votes:
            row = [clean(vote.model), clean(said(vote)), "yes" if vote.grounded else "no"]
            row.append(f"{vote.latency_ms:.0f}")
            if len(table.columns) > len(row):
                row.append(clean(vote.error or ""))
            table.add_row(*(Text(cell) for cell in row))
        self._out.print(table)
        self._out.print(
            f"{report.strategy}, {report.execution}: agreement {percent(report.agreement)}, "
            f"confidence {percent(report.confidence)}",
            style="dim",
        )


def clean(text: str) -> str:
    """Text without control characters other than line break and tab."""
    return CONTROL.sub("", text)


def short(text: str, limit: int = SHORT_TEXT) -> str:
    """The beginning of a passage on one line."""
    flat = clean(" ".join(text.split()))
    return flat if len(flat) <= limit else f"{flat[: limit - 1].rstrip()}…"


def place(source: Source) -> str:
    """Where a passage stands."""
    return source.filename + (f", page {source.page}" if source.page is not None else "")


def said(vote: Vote) -> str:
    """A vote's value in words."""
    if vote.error:
        return "-"
    if vote.stopped:
        return "not needed"
    if vote.is_blank:
        return "not in the documents"
    return " ".join(part for part in (vote.answer_value, vote.answer_unit) if part)


def percent(share: float) -> str:
    """0.667 as 67 %."""
    return f"{share * 100:.0f} %"
