"""The options of `jurat bench`, and what they ask for."""

import argparse
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from clients.api import ClientError, add_gateway_options, default_key, gateway_url
from clients.bench.http import Endpoint
from clients.bench.load import Plan
from clients.bench.workload import CHAT_MODEL, EMBEDDING_MODEL, WORKLOADS

__all__ = ["concurrencies", "endpoints", "parser", "plans"]

NAME = "jurat"
ALL = "all"
EPILOG = """examples:
  jurat bench --peer llama-server=http://127.0.0.1:8081
  jurat bench --workload shared-context --peer llama-server=http://127.0.0.1:8081 --save run.json
  jurat bench --workload all --plot run.png
  jurat bench --startup
  jurat bench --questions tests/data/handbook_questions.jsonl
"""


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
    _add_load_options(made.add_argument_group("under load"))
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


def _add_load_options(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument(
        "--workload",
        choices=[*WORKLOADS, ALL],
        default="short",
        help="default: %(default)s; "
        + "; ".join(f"{name}: {workload.says}" for name, workload in WORKLOADS.items()),
        metavar="NAME",
    )
    group.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another OpenAI-compatible server to measure in the same run; may be repeated",
    )
    group.add_argument(
        "--peer-model",
        action="append",
        default=[],
        metavar="NAME=ID",
        help="what that peer calls the model, if it is not what the gateway calls it",
    )
    group.add_argument(
        "--model",
        metavar="ID",
        help=f"default: {CHAT_MODEL}, and {EMBEDDING_MODEL} for embeddings; "
        "with --workload all it is the chat model",
    )
    group.add_argument(
        "--concurrency",
        type=concurrencies,
        metavar="N,N",
        help="clients at once (mixed: streams; voters: samples); default: the workload's own",
    )
    group.add_argument(
        "--tokens", type=int, metavar="N", help="tokens of an answer; default: the workload's own"
    )
    group.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    group.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of the prompts; default: another each time, so that no server has seen them",
    )
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the figures: .png or .svg (needs jurat[plot])",
    )


def endpoints(options: argparse.Namespace) -> list[Endpoint]:
    """The gateway, then its peers. Only the gateway is sent the key. Raises ClientError."""
    url = gateway_url(options.url or options.address)
    models = _named(options.peer_model, "--peer-model", "NAME=ID")
    peers = _named(options.peer, "--peer", "NAME=URL")
    if NAME in peers:
        raise ClientError(f"--peer: two servers cannot both be called '{NAME}'.")
    if unknown := [name for name in models if name not in peers]:
        raise ClientError(f"--peer-model: there is no --peer '{unknown[0]}'.")
    return [
        Endpoint(NAME, url, options.api_key or default_key()),
        *(
            Endpoint(name, gateway_url(address), model=models.get(name))
            for name, address in peers.items()
        ),
    ]


def plans(options: argparse.Namespace) -> list[Plan]:
    """What to run. Raises ClientError."""
    if options.rounds < 1 or (options.tokens is not None and options.tokens < 1):
        raise ClientError("--rounds and --tokens take numbers above 0.")
    everything = options.workload == ALL
    seed = options.seed if options.seed is not None else secrets.randbelow(2**31)
    made: list[Plan] = []
    for name in WORKLOADS if everything else [options.workload]:
        workload = WORKLOADS[name]
        fixed = everything and workload.model != CHAT_MODEL
        made.append(
            Plan(
                model=workload.model if fixed else options.model or workload.model,
                workload=name,
                concurrency=options.concurrency or workload.concurrency,
                tokens=options.tokens or workload.tokens,
                rounds=options.rounds,
                seed=seed,
            )
        )
    return made


def concurrencies(text: str) -> list[int]:
    """`1,4,8`, for argparse."""
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("a server needs at least one client")
    return list(dict.fromkeys(numbers))


def _named(given: Sequence[str], option: str, form: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, _, value = each.partition("=")
        if not name or not value:
            raise ClientError(f"{option} takes {form}, not '{each}'.")
        if name in found:
            raise ClientError(f"{option}: '{name}' is given twice.")
        found[name] = value
    return found
