"""`jurat doctor` and `jurat reindex`: the documents of a data directory, while no gateway runs."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.config_files import load_configuration
from retrieval.doctor import examine, rebuild, repair
from retrieval.errors import RetrievalError

__all__ = ["main", "reindex"]


def main(argv: Sequence[str]) -> int:
    """Say what is wrong and, with --repair, mend what is derived. 1 where something is left.

    Raises ConfigError.
    """
    parser = _parser("doctor", "Check the database, the files and the indexes of the documents.")
    parser.add_argument(
        "--repair", action="store_true", help="build anew what can be derived from the rest"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    path = load_configuration(options.config).data_dir

    def check() -> int:
        problems = examine(path)
        if options.repair and any(problem.cure for problem in problems):
            repair(path)
        left = [problem for problem in problems if not (problem.cure and options.repair)]
        if options.json:
            found = {"problems": msgspec.to_builtins(problems), "repaired": options.repair}
            sys.stdout.write(json.dumps(found) + "\n")
        else:
            for problem in problems:
                mended = "mended" if problem not in left else problem.cure
                sys.stdout.write(problem.what + (f": {mended}" if mended else "") + "\n")
            sys.stdout.write(f"{path}: {len(problems)} problems, {len(left)} of them left\n")
        return 1 if left else 0

    return _told("doctor", check)


def reindex(argv: Sequence[str]) -> int:
    """Build indexes anew from the database. Raises ConfigError."""
    parser = _parser("reindex", "Build the indexes of the documents anew from the database.")
    parser.add_argument("--store", metavar="NAME", help="id or name (default: all stores)")
    options = parser.parse_args(argv)
    path = load_configuration(options.config).data_dir

    def build() -> int:
        count = rebuild(path, options.store)
        if options.store is not None and not count:
            raise RetrievalError(f"There is no store '{options.store}' with files in it.")
        sys.stdout.write(f"{path}: the indexes of {count} stores were built\n")
        return 0

    return _told("reindex", build)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"jurat {name}",
        description=f"{description} Stop the gateway first: it holds the data directory.",
    )
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    return parser


def _told(name: str, action: Callable[[], int]) -> int:
    try:
        return action()
    except RetrievalError as error:
        sys.stderr.write(f"jurat {name}: {error}\n")
        return 1
