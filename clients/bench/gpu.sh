#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: `short` at 1, 8, 32 and 128 clients and the time to the first
# token, against llama-batched-bench and llama-server of the same build and for an 8B model's shape.
#
#   clients/bench/gpu.sh [FOLDER]      default: ./build/gpu; results are left there
#
# llama.cpp is built once, with CUDA and for one kind of GPU; the installed llama-cpp-python is led to
# those libraries (LLAMA_CPP_LIB_PATH), so that all that is compared runs the very same kernels. Needs
# CMake, a C++ compiler, the CUDA toolkit, and the package gguf (`pip install 'jurat[test]'`). The
# weights are random: speed does not depend on their values.
#
# On a machine without a network, put vendor/llama.cpp of llama-cpp-python's source distribution (of the
# version that is installed) into FOLDER/llama.cpp/src beforehand. Its folders benches, docs, examples,
# media, models and tests are not needed; without them it is 11 MB compressed.
#
#   PYTHON     default: .venv/bin/python, else python3
#   CUDA_ARCH  default: what nvidia-smi says of the first GPU, else 90
#   SHAPE      options of random_gguf; default: none, which is Llama 3.1 8B in Q8_0 (8.5 GB)
#   BATCHES    default: 1,8,32,128
#   PORT       of the gateway, llama-server's is the next; default: 8090
#   BUILD      no: everything is built already; only: build and end; default: yes
#   BACKEND    cpu leaves CUDA out, to try the script on a small shape; default: cuda
#   THREADS    of llama.cpp; default: all cores

set -euo pipefail

folder=${1:-build/gpu}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
here=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
batches=${BATCHES:-1,8,32,128}
largest=$(printf '%s\n' "$batches" | tr , '\n' | sort -n | tail -n 1)
port=${PORT:-8090}
model=$folder/model.gguf
prompt=512
tokens=128
# Each of the largest batch's sequences holds its prompt and its answer; one more is parked.
cells=$(((largest + 1) * (prompt + tokens + 64)))
bench() { PYTHONPATH=$here "$PYTHON" -m gateway bench "$@"; }
say() { printf '\n== %s\n' "$1" >&2; }

if [ "${BACKEND:-cuda}" = cuda ]; then
    arch=${CUDA_ARCH:-}
    if [ -z "$arch" ]; then
        found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ' || :)
        arch=${found:-90}
    fi
    CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=$arch ${CMAKE_ARGS:-}"
    layers=99
else
    layers=0
fi
export PYTHON CMAKE_ARGS="${CMAKE_ARGS:-}"

if [ "${BUILD:-yes}" != no ]; then
    say "building llama.cpp, llama-batched-bench and llama-server (${CMAKE_ARGS:-})"
    TARGETS="llama-server llama-batched-bench" "$here/clients/bench/llama_server.sh" "$folder/llama.cpp" >&2
fi
[ "${BUILD:-yes}" != only ] || exit 0
bin=$(cd "${LLAMA_BIN:-$folder/llama.cpp/cmake/bin}" && pwd)
export LLAMA_CPP_LIB_PATH="$bin"
"$PYTHON" - "${BACKEND:-cuda}" <<'PROGRAM'
import sys, llama_cpp
if sys.argv[1] == "cuda" and not llama_cpp.llama_supports_gpu_offload():
    sys.exit("gpu.sh: this build of llama.cpp sees no GPU")
PROGRAM

if [ ! -f "$model" ]; then
    say "writing random weights"
    # SHAPE is a list of options: it is split on purpose.
    # shellcheck disable=SC2086
    PYTHONPATH=$here "$PYTHON" -m clients.bench.random_gguf "$model.part" ${SHAPE:-}
    mv "$model.part" "$model"
fi

say "llama-batched-bench"
"$bin/llama-batched-bench" -m "$model" -c "$cells" -b 2048 -ub 512 -ngl "$layers" -npp "$prompt" \
    -ntg "$tokens" -npl "$batches" ${THREADS:+-t "$THREADS"} | tee "$folder/batched-bench.txt"

say "the engine without HTTP, of the same prompts and answers"
for sampling in auto off; do
    say "backend_sampling = $sampling"
    PYTHONPATH=$here "$PYTHON" -m models.worker.measure "file:$model" --batch "$batches" --prompt "$prompt" \
        --tokens "$tokens" --rounds 3 --prefix-cache-mb 0 --gpu-layers "$layers" --backend-sampling "$sampling" \
        ${THREADS:+--threads "$THREADS"} | tee "$folder/engine-$sampling.txt"
done

say "the gateway and llama-server"
mkdir -p "$folder/configs/models" "$folder/configs/ensembles"
cat >"$folder/configs/gateway.toml" <<TOML
[server]
port = $port

[models]
directory = "models"

[ensembles]
directory = "ensembles"
TOML
cat >"$folder/configs/models/random.toml" <<TOML
id = "random"
kind = "chat"
source = "file:$model"
description = "random weights"
context = 2048
kv_tokens = $cells
parallel = $largest
${THREADS:+threads = $THREADS}
TOML
# Without an embedder there is nothing to retrieve with, and so no store.
JURAT_DATA_DIR=$folder/state PYTHONPATH=$here "$PYTHON" -m gateway serve --config "$folder/configs/gateway.toml" \
    >"$folder/gateway.log" 2>&1 &
gateway=$!
"$bin/llama-server" -m "$model" --alias random -np "$largest" -c "$cells" -ngl "$layers" -kvu \
    --port $((port + 1)) ${THREADS:+-t "$THREADS"} >"$folder/llama-server.log" 2>&1 &
peer=$!
trap 'kill "$gateway" "$peer" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ready() {
    "$PYTHON" - "$1" <<'PROGRAM'
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except OSError:
    sys.exit(1)
PROGRAM
}
for url in "http://127.0.0.1:$port/ready" "http://127.0.0.1:$((port + 1))/health"; do
    tries=0
    until ready "$url"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$gateway" 2>/dev/null || ! kill -0 "$peer" 2>/dev/null; then
            printf 'gpu.sh: %s does not answer; see the logs in %s\n' "$url" "$folder" >&2
            exit 1
        fi
        sleep 1
    done
done
bench "http://127.0.0.1:$port" --model random --concurrency "$batches" --tokens "$tokens" \
    --peer "llama-server=http://127.0.0.1:$((port + 1))" --save "$folder/short.json" | tee "$folder/short.txt"
say "results are in $folder"
