#!/bin/sh
# Builds llama.cpp's own server from the very sources that the installed llama-cpp-python was built
# from, so that a comparison with `jurat bench --peer` compares servers and not kernels.
#
#   clients/bench/llama_server.sh [FOLDER]      default: ./build/llama-server
#
# Needs a C++ compiler and CMake. Downloads the source distribution from the package index (about
# 75 MB); the build takes a quarter of an hour on two cores. Prints the path of the binary.
#
#   PYTHON      the Python whose llama-cpp-python is matched; default .venv/bin/python, else python3
#   CMAKE_ARGS  as for the gateway's own build; give both the same
#   JOBS        compilers at once; default: all cores
#
# Then, for the measurements of docs/benchmarks.md:
#
#   FOLDER/cmake/bin/llama-server -m MODEL.gguf --alias smollm2-135m -np 8 -c 16384 --port 8081
#   jurat bench --peer llama-server=http://127.0.0.1:8081

set -eu

folder=${1:-build/llama-server}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
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
cmake --build "$folder/cmake" --target llama-server --parallel "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" >&2
printf '%s\n' "$folder/cmake/bin/llama-server"
