"""Serves one gateway after the other: imports what they need once, and forks each of them.

Arguments are those of `jurat serve`. Each line of the standard input starts a gateway; its process
id is printed, and the status that it ended with.
"""

import os
import sys

from gateway import serve


def main() -> None:
    for _ in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            sys.exit(serve.main(sys.argv[1:]))
        sys.stdout.write(f"started {child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


main()
