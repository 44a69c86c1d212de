"""`jurat evaluate SUBCOMMAND …`: know which models, which ensemble, and whether it was worth it.

A subcommand is a function `main(argv) -> int`. Only the chosen one is imported, so that scoring a
file loads neither an HTTP client nor a plotting library.
"""

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import cast

from clients.api import run_client

__all__ = ["SUBCOMMANDS", "main"]

Subcommand = Callable[[Sequence[str]], int]

# Name: "module:function", and what it is for.
SUBCOMMANDS = {
    "audit": ("clients.evaluation.audit:main", "say what is odd about runs"),
    "bench": ("clients.evaluation.measure:main", "measure what evaluation itself costs"),
    "ensemble": ("clients.evaluation.ensemble:main", "vote over recorded runs"),
    "live": ("clients.evaluation.live:main", "ask an ensemble, its members, and without each part"),
    "matrix": ("clients.evaluation.matrix:main", "compare runs question by question"),
    "plot": ("clients.evaluation.plot:main", "draw what runs are worth"),
    "retrieval": ("clients.evaluation.retrieval:main", "measure the search over documents"),
    "run": ("clients.evaluation.run:main", "ask a model or an ensemble every question"),
    "score": ("clients.evaluation.score:main", "score a submission against the truth"),
    "tune": ("clients.evaluation.tune:main", "learn an ensemble's settings from labels"),
}


def main(argv: Sequence[str]) -> int:
    """Run `jurat evaluate ARGV…` and return its exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if argv else 2
    name, *rest = argv
    if name not in SUBCOMMANDS:
        near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        sys.stderr.write(f"jurat evaluate: no subcommand '{name}'.{hint}\n")
        return 2
    return run_client(f"evaluate {name}", lambda: resolve(name)(rest))


def resolve(name: str) -> Subcommand:
    """The function behind a subcommand."""
    module, _, function = SUBCOMMANDS[name][0].partition(":")
    return cast("Subcommand", getattr(importlib.import_module(module), function))


def usage() -> str:
    """The text of `jurat evaluate --help`."""
    width = max(map(len, SUBCOMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in SUBCOMMANDS.items())
    return (
        "usage: jurat evaluate SUBCOMMAND [OPTION…]\n\n"
        f"subcommands:\n{lines}\n\n"
        "jurat evaluate SUBCOMMAND --help says more.\n"
    )
