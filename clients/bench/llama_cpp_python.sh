#!/bin/sh
# Runs the example server of llama-cpp-python (examples/server) for `jurat bench --peer`: with the
# installed llama-cpp-python, so with the kernels that the gateway runs on.
#
#   clients/bench/llama_cpp_python.sh SOURCES MODEL.gguf [FOLDER]      serves until Ctrl-C
#
# SOURCES is an unpacked source distribution or a clone of llama-cpp-python at the installed version;
# clients/bench/llama_server.sh leaves one in its folder: build/llama-server/src. FOLDER keeps what
# the server needs beside the gateway's packages (fastapi and websockets, from the package index)
# and its configuration; default: ./build/llama-cpp-python.
#
#   PYTHON   the Python that has llama-cpp-python; default .venv/bin/python, else python3
#   ALIAS    what the server calls the model; default: smollm2-135m
#   PORT     default: 8083
#   CONTEXT  tokens of the cache, which all eight sequences share; default: 16384
#
# Then:
#
#   jurat bench --workload shared-context --peer llama-cpp-python=http://127.0.0.1:8083

set -eu

if [ $# -lt 2 ]; then
    printf 'usage: clients/bench/llama_cpp_python.sh SOURCES MODEL.gguf [FOLDER]\n' >&2
    exit 2
fi
server=$1/examples/server/server.py
model=$2
folder=${3:-build/llama-cpp-python}
for file in "$server" "$model"; do
    if [ ! -f "$file" ]; then
        printf 'llama_cpp_python.sh: there is no file %s\n' "$file" >&2
        exit 1
    fi
done
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi

mkdir -p "$folder"
if [ ! -d "$folder/site" ]; then
    # A folder of their own: the gateway's environment stays as it is.
    rm -rf "$folder/installing"
    "$PYTHON" -m pip install --quiet --target "$folder/installing" fastapi websockets >&2
    mv "$folder/installing" "$folder/site"
fi

# As many threads as the gateway takes, one unified cache, eight sequences.
MODEL=$model "$PYTHON" - >"$folder/server.json" <<'PROGRAM'
import json
import os
from pathlib import Path

threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
configuration = {
    "server": {"host": "127.0.0.1", "port": int(os.environ.get("PORT") or 8083)},
    "model": {
        "alias": os.environ.get("ALIAS") or "smollm2-135m",
        "path": str(Path(os.environ["MODEL"]).absolute()),
        "n_ctx": int(os.environ.get("CONTEXT") or 16384),
        "n_seq_max": 8,
        "n_batch": 512,
        "n_ubatch": 512,
        "threads": threads,
        "threads_batch": threads,
        "kv_unified": True,
        "store_logits": False,
    },
}
print(json.dumps(configuration, indent=2))
PROGRAM
PYTHONPATH=$folder/site exec "$PYTHON" "$server" -C "$folder/server.json"
