"""llama.cpp's own server, of the package xllamacpp: `python -m tests.llama_server MODEL [rank]`.

It says its URL in a line of its own, and ends when its standard input does.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CONTEXT", "llama_server"]

CONTEXT = 512
SLOTS = 2


@contextmanager
def llama_server(model: Path, *, rank: bool = False) -> Iterator[str]:
    """A server in a process of its own; gives its URL, without /v1, once the model is loaded."""
    command = [sys.executable, "-m", "tests.llama_server", str(model), *(["rank"] if rank else [])]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = next((line.strip() for line in process.stdout if line.startswith("http")), None)
            assert url, "the server did not start"
            yield url
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.no_extra_bufts = True  # see docs/architecture.md, guarded load
    if "rank" in sys.argv:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
