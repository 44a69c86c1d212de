"""The `jurat` command: finds the subcommand and hands it the rest of the line.

A subcommand is an entry point of the group `jurat.commands`: a function `main(argv) -> int`, where
`argv` is what follows its name. Only the chosen one is imported. Thus this module knows no client.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from gateway.toml import ConfigError, nearest
from gateway.version import VERSION

__all__ = ["main"]

GROUP = "jurat.commands"
Command = Callable[[Sequence[str]], int]

# Also entry points; named here so that a checkout that is not installed can serve.
BUILT_IN = {
    "serve": "gateway.serve:main",
    "check-config": "gateway.check_config:main",
    "plan": "gateway.plan:main",
    "pull": "gateway.hub_commands:pull",
    "rm": "gateway.hub_commands:rm",
    "models": "gateway.hub_commands:models",
}

# Words only, so that nothing is imported to print them; other packages' commands have none.
SUMMARIES = {
    "serve": "the gateway",
    "check-config": "read the configuration and say what is wrong with it",
    "plan": "what fits this machine, where it would run, and why",
    "pull": "fetch a model's files from a model hub",
    "rm": "delete a model's files",
    "models": "which models are here, and new versions of them",
    "ask": "one question to a gateway; the answer, its sources and votes",
    "ingest": "put files and folders into a vector store",
    "search": "the passages of vector stores that fit a question best",
    "stores": "vector stores and their files",
    "reindex": "vectors and indexes anew from the database",
    "doctor": "check the documents of a data directory, and repair",
    "evaluate": "measure models and ensembles on your own questions",
    "bench": "throughput and latency of a gateway, beside other servers",
    "bench-engine": "the generation loop without HTTP",
    "bench-models": "how long models take to load, and to take turns",
    "bench-retrieval": "how fast the indexes of a large store are, and what they miss",
    "bench-ingest": "how fast documents become searchable",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `jurat ARGV…` and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"jurat {VERSION}\n")
        return 0
    name, *rest = arguments
    known = commands()
    if name not in known:
        return _fail(f"no command '{name}'.{nearest(name, known)}", 2)
    try:
        return cast("Command", known[name].load())(rest)
    except ConfigError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; there is nobody to tell
        return 141


def commands() -> dict[str, EntryPoint]:
    """The subcommands by name, none of them imported yet."""
    found = {name: EntryPoint(name, path, GROUP) for name, path in BUILT_IN.items()}
    return dict(
        sorted({**found, **{entry.name: entry for entry in entry_points(group=GROUP)}}.items())
    )


def usage() -> str:
    """The text of `jurat --help`."""
    known = commands()
    width = max(map(len, known))
    ordered = [*(name for name in SUMMARIES if name in known), *sorted(set(known) - set(SUMMARIES))]
    names = "\n".join(f"  {name:{width}}  {SUMMARIES.get(name, '')}".rstrip() for name in ordered)
    return (
        "usage: jurat COMMAND [OPTION…]\n\n"
        f"commands:\n{names}\n\n"
        "jurat COMMAND --help says more. jurat --version prints the version.\n"
    )


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"jurat: {message}\n")
    return status
