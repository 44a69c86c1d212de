"""How far a command is: a bar on standard error, where that is a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from clients.show import console

__all__ = ["progress"]


@contextmanager
def progress(name: str, total: int | None) -> Generator[Callable[[int], None]]:
    """Shown while inside; what it gives is told how many more are done. None: not known of how
    many."""
    err = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
        refresh_per_second=2,
    ) as shown:
        task = shown.add_task(name, total=total)
        yield lambda more: shown.advance(task, more)
