# Every target stands alone on a fresh machine with Python 3.11+ and a C++ compiler.
#   make serve [PORT=8000] [ARGS=…]   set up and serve the embedded default
#   make test [WORKERS=2]             set up and run all tests, in so many processes
#   make test-soak                    kill a gateway fifty times; a thousand random loads and crashes
#   make test-open-webui              chats in a real Open WebUI, which it installs (2 GB)
#   make check                        lint, format, types, import arrows
#   make bench [ARGS=…]               measure a gateway that runs (docs/benchmarks.md)
# GPU builds: CMAKE_ARGS="-DGGML_CUDA=on" make serve   (or -DGGML_METAL=on, -DGGML_HIP=on, -DGGML_VULKAN=on)

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.stamps
FRONT_END := .venv-open-webui

.PHONY: install serve test test-soak test-open-webui check format clean bench

install: $(STAMP)/install

# CMake is taken from PyPI where the machine has none; pip's build isolation brings ninja itself.
$(STAMP)/venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Jurat needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	@command -v cmake >/dev/null || $(PIP) install --quiet cmake ninja
	@mkdir -p $(STAMP) && touch $@

# torch first and by its exact version: a range would pull gigabytes of CUDA packages.
$(STAMP)/install: $(STAMP)/venv pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt torch
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(STAMP)/test: $(STAMP)/install
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

$(STAMP)/dev: $(STAMP)/test
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,dev]'
	@touch $@

serve: install
	$(BIN)/jurat serve --port $(PORT) $(ARGS)

# File by file in the order of the folders, so that what a folder's or a file's tests share is loaded
# once, and the files that take longest do not come last.
test: $(STAMP)/test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10 $(ARGS)

test-soak: $(STAMP)/test
	JURAT_TEST_KILLS=50 $(BIN)/python -m pytest tests/e2e/test_kill.py $(ARGS)
	$(BIN)/python -m pytest tests/soak/random_life.py $(ARGS)

# In an environment of its own: its dependencies are pinned, to other versions than ours.
$(FRONT_END)/.installed: $(STAMP)/venv
	$(PYTHON) -m venv $(FRONT_END)
	$(FRONT_END)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(FRONT_END)/bin/python -m pip install --quiet torch==$$(sed -n 's/^torch==//p' constraints.txt) open-webui==0.12.4
	@touch $@

test-open-webui: $(STAMP)/test $(FRONT_END)/.installed
	$(BIN)/python -m pytest tests/open_webui/chats.py $(ARGS)

check: $(STAMP)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With matplotlib, so that ARGS may have --plot.
$(STAMP)/plot: $(STAMP)/install
	$(PIP) install --quiet --constraint constraints.txt --editable '.[plot]'
	@touch $@

bench: $(STAMP)/plot
	$(BIN)/jurat bench $(ARGS)

clean:
	rm -rf $(VENV) $(FRONT_END) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
