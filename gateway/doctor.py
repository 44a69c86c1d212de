"""`jurat doctor`: are the documents of a data directory as they should be?"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.config_files import Configuration, load_configuration
from gateway.running import reindex_there
from retrieval.doctor import Problem, examine, repair
from retrieval.errors import RetrievalError, StoreLocked

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Say what is wrong and, with --repair, mend what is derived. 1 where something is left.

    Raises ConfigError.
    """
    parser = argparse.ArgumentParser(
        prog="jurat doctor",
        description="Check the database, the files and the indexes of the documents. "
        "A gateway may run meanwhile; it does the repair then.",
    )
    parser.add_argument("--config", type=Path, help="the gateway.toml to read")
    parser.add_argument(
        "--repair", action="store_true", help="build anew what can be derived from the rest"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    found = load_configuration(options.config)
    path = found.data_dir

    try:
        problems = examine(path)
        if options.repair and any(problem.cure for problem in problems):
            _repair(found, problems)
    except RetrievalError as error:
        sys.stderr.write(f"jurat doctor: {error}\n")
        return 1
    left = [problem for problem in problems if not (problem.cure and options.repair)]
    if options.json:
        told = {"problems": msgspec.to_builtins(problems), "repaired": options.repair}
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        for problem in problems:
            mended = "mended" if problem not in left else problem.cure
            sys.stdout.write(problem.what + (f": {mended}" if mended else "") + "\n")
        counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        sys.stdout.write(f"{path}: {counted}, {len(left)} left\n")
    return 1 if left else 0


def _repair(found: Configuration, problems: Sequence[Problem]) -> None:
    try:
        repair(found.data_dir)
    except StoreLocked as locked:
        damaged = sorted({problem.store for problem in problems if problem.store})
        for _ in reindex_there(found, locked, damaged):
            pass
