"""Whether a grammar can be compiled within bounds, tried in a process of its own.

Where several schemas or expressions hold for one value, llguidance looks for what follows all of
them. Each may double what that takes, and nothing ends it in a thread: the kernel ends this.
"""

import json
import resource
import subprocess
import sys
import threading
from typing import Any

import llguidance

from models.worker.closing import conjoined

__all__ = ["STACK_BYTES", "ends", "risky"]

# llguidance follows rules and references by recursion: as many as its input has room for must fit.
STACK_BYTES = 128 * 2**20  # address space; only what is used becomes memory
MOST_SECONDS = 2  # of processor time; ordinary schemas take a hundredth of one
MOST_BYTES = 2 * 2**30  # of address space, of which Python and the stack are a fifth


def risky(grammar: str) -> list[str]:
    """The parts of a grammar, as llguidance takes it, in which several schemas meet."""
    return [
        json.dumps({"grammars": [{**part, "name": "trial"}]}, ensure_ascii=False)
        for part in json.loads(grammar)["grammars"]
        if "json_schema" in part and conjoined(part["json_schema"])
    ]


def ends(grammar: str) -> bool:
    """Whether compiling comes to an end, be it with an error; takes a tenth of a second to tell."""
    command = [sys.executable, "-P", "-m", "models.worker.compile_trial"]
    done = subprocess.run(  # noqa: S603 - nothing of the command comes from outside
        command, input=grammar.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return done.returncode == 0


def main() -> None:
    """Compile what stands on the standard input, over a vocabulary of bytes."""
    grammar = sys.stdin.buffer.read().decode()
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MOST_BYTES),
        (resource.RLIMIT_CPU, MOST_SECONDS),
    ):
        resource.setrlimit(what, (limit, limit))
    tokenizer: Any = llguidance.LLTokenizer("byte")
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=lambda: llguidance.LLMatcher(tokenizer, grammar, log_level=0))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
