"""`jurat bench`: throughput and latency of a gateway, beside other servers in the same run."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import openai
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.api import ClientError, connect, explain, run_client
from clients.bench.http import Endpoint
from clients.bench.load import Plan, measure
from clients.bench.machine import machine
from clients.bench.options import endpoints, parser, plans
from clients.bench.plot import check_plot, draw
from clients.bench.questions import ask_all, read_questions, score
from clients.bench.report import Report, report_of
from clients.bench.resources import Figures, idle, startup
from clients.bench.stream import models_of
from clients.bench.table import show_figures, show_report, show_scores
from clients.show import console

__all__ = ["main"]

DEFAULT_ENSEMBLE = "rag-ensemble"


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    return run_client("bench", lambda: bench(options))


def bench(options: argparse.Namespace) -> int:
    """Measure and print. Raises ClientError."""
    if options.startup or options.resources is not None:
        return at_rest(options)
    if options.questions is not None:
        return right_answers(options)
    return under_load(options)


def at_rest(options: argparse.Namespace) -> int:
    """`--startup` and `--resources`."""
    result: dict[str, Any] = {"machine": machine()}
    figures: Figures = uvloop.run(
        startup(options.seconds) if options.startup else idle(options.resources, options.seconds)
    )
    result["resources"] = figures
    save(options, result)
    if not options.json:
        show_figures(console(), figures)
    return 0


def under_load(options: argparse.Namespace) -> int:
    """The workloads. Status 1 if a request failed, or the gateway could not run a workload."""
    servers, chosen = endpoints(options), plans(options)
    if options.plot is not None:
        check_plot(options.plot)
    result: dict[str, Any] = {"machine": machine(), "servers": servers_of(servers)}
    known = uvloop.run(models_of(servers[0]))
    reports: list[Report] = []
    skipped: dict[str, str] = {}
    for plan in chosen:
        try:
            check_model(servers[0], plan.model, known)
            reports.append(run(servers, plan))
        except ClientError as error:
            if len(chosen) == 1:
                raise
            skipped[plan.workload] = str(error)
    save(options, result | {"workloads": reports, "skipped": skipped})
    if not options.json:
        out = console()
        for report in reports:
            show_report(out, servers[0].name, report)
        for name, why in skipped.items():
            out.print(f"{name} was not run: {why}", soft_wrap=True)
    if options.plot is not None:
        draw(options.plot, reports)
    return 1 if skipped or any(report.failed for report in reports) else 0


def run(servers: Sequence[Endpoint], plan: Plan) -> Report:
    """One workload, with a progress bar. Raises ClientError."""
    steps = len(servers) * len(plan.cases) * (1 + plan.rounds)
    with progress_bar() as progress:
        task = progress.add_task("", total=steps, completed=-1)
        found = uvloop.run(
            measure(servers, plan, lambda text: progress.update(task, description=text, advance=1))
        )
        progress.update(task, completed=steps)
    return report_of(plan, [server.name for server in servers], found)


def right_answers(options: argparse.Namespace) -> int:
    """`--questions`."""
    server = endpoints(options)[0]
    model = options.model or DEFAULT_ENSEMBLE
    questions = read_questions(options.questions)
    check_model(server, model, uvloop.run(models_of(server)))
    with progress_bar() as progress, connect(server.url, options.api_key) as client:
        task = progress.add_task(options.questions.name, total=len(questions))
        try:
            answers = ask_all(client, model, questions, lambda: progress.advance(task))
        except openai.OpenAIError as error:
            raise ClientError(explain(error, server.url)) from error
    scores = score(questions, answers)
    save(options, {"machine": machine(), "file": options.questions.name, "scores": scores})
    if not options.json:
        show_scores(console(), scores)
    return 0


def check_model(server: Endpoint, model: str, known: Sequence[str]) -> None:
    """Refuse a model that the gateway does not list, before anything is measured."""
    if model not in known:
        raise ClientError(f"{server.url} has no model '{model}'; it has: {', '.join(known)}.")


def progress_bar() -> Progress:
    """On standard error, and only where that is a terminal."""
    err = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
        # Redrawing costs time on the cores that are being measured.
        refresh_per_second=2,
    )


def servers_of(servers: Sequence[Endpoint]) -> dict[str, dict[str, str | None]]:
    """Names and addresses, without keys."""
    return {server.name: {"url": server.url, "model": server.model} for server in servers}


def save(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the JSON object to --save, and to standard output with --json. Raises ClientError."""
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if options.save is not None:
        try:
            options.save.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ClientError(f"Cannot write {options.save}: {error.strerror}.") from error
    if options.json:
        sys.stdout.write(text)
