"""`jurat bench`: throughput and latency of a gateway, beside other servers in the same run."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import openai
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.api import (
    ClientError,
    add_gateway_options,
    connect,
    default_key,
    explain,
    gateway_url,
    run_client,
)
from clients.bench.http import Endpoint
from clients.bench.load import Plan, measure, models_of
from clients.bench.measure import ratios, summarise
from clients.bench.questions import ask_all, read_questions, score
from clients.bench.resources import Figures, idle, startup
from clients.bench.table import show_figures, show_results, show_scores
from clients.bench.workload import WORKLOADS
from clients.show import console

__all__ = ["concurrencies", "endpoints", "main", "parser", "plan"]

NAME = "jurat"
MODELS = {"embeddings": "all-minilm-l6-v2"}
DEFAULT_MODEL = "smollm2-135m"
DEFAULT_ENSEMBLE = "rag-ensemble"
SHAPES = {"shared-context": ((8,), 48)}  # concurrency and tokens
DEFAULT_SHAPE = ((1, 4, 8), 64)
EPILOG = """examples:
  jurat bench --peer llama-server=http://127.0.0.1:8081
  jurat bench --workload shared-context --peer llama-server=http://127.0.0.1:8081 --save run.json
  jurat bench --startup
  jurat bench --questions tests/data/handbook_questions.jsonl
"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(argv)
    return run_client("bench", lambda: bench(options))


def parser() -> argparse.ArgumentParser:
    """The options of `jurat bench`."""
    made = argparse.ArgumentParser(
        prog="jurat bench",
        description="Measure a gateway: under load, at rest, or how right it is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("address", nargs="?", metavar="URL", help="the same as --url")
    add_gateway_options(made)
    made.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another OpenAI-compatible server to measure in the same run; may be repeated",
    )
    made.add_argument("--model", metavar="ID", help=f"default: {DEFAULT_MODEL} or {MODELS}")
    made.add_argument("--workload", choices=list(WORKLOADS), default="short")
    made.add_argument("--concurrency", type=concurrencies, metavar="N,N", help="default: 1,4,8")
    made.add_argument("--tokens", type=int, metavar="N", help="tokens of an answer; default: 64")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0, help="of the prompts; default: %(default)s")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--save", type=Path, metavar="FILE", help="also write the JSON object here")
    made.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="measure answers instead of speed: JSON lines with question, answers and file",
    )
    rest = made.add_argument_group("at rest")
    rest.add_argument(
        "--startup", action="store_true", help="start `jurat serve` and measure it until it is idle"
    )
    rest.add_argument("--resources", type=int, metavar="PID", help="measure a running gateway")
    rest.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="idle time; default: %(default)s"
    )
    return made


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
    """The workloads. Status 1 if a request failed."""
    servers = endpoints(options)
    chosen = plan(options)
    result: dict[str, Any] = {"machine": machine(), "plan": chosen, "servers": servers_of(servers)}
    uvloop.run(check_model(servers[0], chosen.model))
    steps = len(servers) * (1 + chosen.rounds * len(chosen.concurrency))
    with progress_bar() as progress:
        task = progress.add_task("", total=steps, completed=-1)
        waves = uvloop.run(
            measure(
                servers, chosen, lambda text: progress.update(task, description=text, advance=1)
            )
        )
        progress.update(task, completed=steps)
    cells = [
        summarise(server.name, concurrency, waves[server.name, concurrency])
        for concurrency in chosen.concurrency
        for server in servers
    ]
    against = ratios(cells, [peer.name for peer in servers[1:]], servers[0].name)
    result |= {"results": cells, "ratios": against}
    save(options, result)
    if not options.json:
        show_results(console(), cells, against, embeddings=chosen.workload == "embeddings")
    return 1 if any(cell.errors for cell in cells) else 0


def right_answers(options: argparse.Namespace) -> int:
    """`--questions`."""
    server = endpoints(options)[0]
    model = options.model or DEFAULT_ENSEMBLE
    questions = read_questions(options.questions)
    uvloop.run(check_model(server, model))
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


def endpoints(options: argparse.Namespace) -> list[Endpoint]:
    """The gateway, then its peers. Only the gateway is sent the key. Raises ClientError."""
    url = gateway_url(options.url or options.address)
    found = [Endpoint(NAME, url, options.api_key or default_key())]
    for given in options.peer:
        name, equals, address = str(given).partition("=")
        if not name or not equals:
            raise ClientError(f"--peer takes NAME=URL, not '{given}'.")
        if name in (endpoint.name for endpoint in found):
            raise ClientError(f"Two servers cannot both be called '{name}'.")
        found.append(Endpoint(name, gateway_url(address)))
    return found


def plan(options: argparse.Namespace) -> Plan:
    """What to run. Raises ClientError."""
    concurrency, tokens = SHAPES.get(options.workload, DEFAULT_SHAPE)
    made = Plan(
        model=options.model or MODELS.get(options.workload, DEFAULT_MODEL),
        workload=options.workload,
        concurrency=options.concurrency or concurrency,
        tokens=tokens if options.tokens is None else options.tokens,
        rounds=options.rounds,
        seed=options.seed,
    )
    if made.rounds < 1 or made.tokens < 1:
        raise ClientError("--rounds and --tokens take numbers above 0.")
    return made


def concurrencies(text: str) -> list[int]:
    """`1,4,8`, for argparse."""
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("a server needs at least one client")
    return list(dict.fromkeys(numbers))


async def check_model(server: Endpoint, model: str) -> None:
    """Refuse a model that the gateway does not list, before anything is measured."""
    known = await models_of(server)
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


def machine() -> dict[str, Any]:
    """Where and when this was measured; the load average tells whether it was alone."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def servers_of(servers: Sequence[Endpoint]) -> dict[str, str]:
    """Names and addresses, without keys."""
    return {server.name: server.url for server in servers}


def save(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the JSON object to --save, and to standard output with --json. Raises ClientError."""
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode() + "\n"
    if options.save is not None:
        try:
            options.save.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ClientError(f"Cannot write {options.save}: {error.strerror}.") from error
    if options.json:
        sys.stdout.write(text)
