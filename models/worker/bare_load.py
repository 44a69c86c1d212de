"""llama.cpp alone, loading a file: `python -m models.worker.bare_load FILE CONTEXT safe|fast`.

What `jurat bench-models load` compares with. Prints the seconds from the first call into llama.cpp
until one token is decoded; Python's own start is not among them.
"""

import importlib
import sys
import time
from typing import Any

from models.hardware import core_count
from models.worker.llama_loading import open_model

llama_cpp: Any = importlib.import_module("llama_cpp")

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Load, decode, print. 1 where llama.cpp does not load it; its log says why."""
    path, context, mode = argv
    began = time.perf_counter()
    llama_cpp.llama_backend_init()
    model = open_model(path, 0, (), safe_mode=mode == "safe")
    if not model:
        return 1
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = int(context)
    params.n_threads = params.n_threads_batch = core_count()
    opened = llama_cpp.llama_init_from_model(model, params)
    if not opened:
        return 1
    token = (llama_cpp.llama_token * 1)(1)
    if llama_cpp.llama_decode(opened, llama_cpp.llama_batch_get_one(token, 1)) != 0:
        return 1
    sys.stdout.write(f"{time.perf_counter() - began:.6f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
