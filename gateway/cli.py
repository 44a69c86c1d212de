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
    names = "\n".join(f"  {name}" for name in commands())
    return (
        "usage: jurat COMMAND [OPTION…]\n\n"
        f"commands:\n{names}\n\n"
        "jurat COMMAND --help says more. jurat --version prints the version.\n"
    )


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"jurat: {message}\n")
    return status
