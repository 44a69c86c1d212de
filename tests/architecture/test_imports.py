"""What import-linter does not see: homes of heavy libraries, and what an import costs."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "models", "retrieval", "clients")

# A library and the files, or the one folder, that may import it.
HOMES: dict[str, str | tuple[str, ...]] = {
    "llama_cpp": (
        "models/worker/bare_load.py",
        "models/worker/llama.py",
        "models/worker/llama_embedder.py",
        "models/worker/llama_context.py",
        "models/worker/llama_loading.py",
        "models/worker/llama_reranker.py",
        "models/worker/vocabulary.py",
        "models/worker/backend_sampling.py",
    ),
    "sentence_transformers": "models/worker/embedder.py",
    "torch": ("models/worker/embedder.py", "models/worker/packed.py"),
    "transformers": "models/worker/embedder.py",
    "gguf": ("models/gguf_file.py", "models/gguf_header.py", "clients/bench/random_gguf.py"),
    "pynvml": ("models/machine.py", "clients/evaluation/gpus.py"),
    "huggingface_hub": ("models/hub.py", "models/hub_cache.py"),
    "httpx2": ("models/hub.py", "models/upstream/connection.py"),
    "filelock": "models/hub.py",
    "usearch": "retrieval/vector_index.py",
    "tantivy": "retrieval/keyword_index.py",
    "pypdfium2": "retrieval/formats/pdf",
    "docx": "retrieval/formats/word.py",
    "pptx": "retrieval/formats/slides.py",
    "openpyxl": "retrieval/formats/sheets.py",
    "selectolax": "retrieval/formats/html_page.py",
    "litestar": "gateway/",
    "multipart": "gateway/multipart.py",
    "prometheus_client": "gateway/metrics.py",
    "ray": "models/engines/ray_serve.py",
    "matplotlib": (
        "clients/bench/plot.py",
        "clients/evaluation/marks.py",
        "clients/evaluation/plots.py",
    ),
}
# What a gateway must not load: models, which would double its memory and its start, and what reads
# untrusted files.
WORKERS_ONLY = (
    *("torch", "llama_cpp", "transformers", "sentence_transformers", "llguidance"),
    *("pypdfium2", "docx", "pptx", "openpyxl", "selectolax"),
)
# Nor the hub's client, which only processes that pull need: of it, only names of folders.
PULLS_ONLY = ("huggingface_hub.file_download",)


@functools.cache
def modules() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(found) > 50
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def libraries(path: Path) -> frozenset[str]:
    """What a file imports."""
    return frozenset(imported(parsed(path)))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of every import, wherever it stands, import_module("…") included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module.partition(".")[0]
            case _:
                pass


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=items)):
                return [str(ast.literal_eval(item)) for item in items]
            case _:
                pass
    return None


def defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name for alias in aliases)
            case _:
                pass
    return names


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import torch.nn as n",
        "from torch import nn",
        "from torch.nn import functional",
        "def f():\n    import torch",
        "import importlib\nt = importlib.import_module('torch.nn')",
        "from importlib import import_module\nimport_module('torch')",
        "__import__('torch')",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    assert "torch" in set(imported(ast.parse(source)))


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_only(library: str) -> None:
    strangers = [
        name_of(path)
        for path in modules()
        if library in libraries(path) and not name_of(path).startswith(HOMES[library])
    ]
    assert strangers == []


def test_the_homes_of_what_is_required_are_inhabited() -> None:
    for library in ("llama_cpp", "sentence_transformers", "usearch"):
        homes = HOMES[library]
        for home in (homes,) if isinstance(homes, str) else homes:
            assert library in libraries(ROOT / home), home


def test_package_init_files_are_empty() -> None:
    inits = [path for path in modules() if path.name == "__init__.py"]
    assert {path.parent.relative_to(ROOT).as_posix() for path in inits} >= set(PACKAGES)
    assert [name_of(path) for path in inits if path.read_text().strip()] == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in modules()}
    assert [name_of(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_every_module_says_what_is_public() -> None:
    silent = [
        name_of(path)
        for path in modules()
        if path.name not in ("__init__.py", "__main__.py") and exported(parsed(path)) is None
    ]
    assert silent == []


def test_what_is_public_exists() -> None:
    missing = {
        name_of(path): sorted(set(exported(tree) or ()) - defined(tree))
        for path in modules()
        for tree in [parsed(path)]
    }
    assert {name: names for name, names in missing.items() if names} == {}


@pytest.mark.parametrize("module", ["gateway.app", "gateway.cli", "models.registry"])
def test_importing_it_loads_nothing_that_belongs_to_workers(module: str) -> None:
    others = (*WORKERS_ONLY, *PULLS_ONLY)
    code = f"import sys, {module}; print([m for m in {others!r} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"


def test_evaluation_of_files_does_not_load_what_only_asking_needs() -> None:
    names = ", ".join(f"clients.evaluation.{name}" for name in ("score", "matrix", "audit"))
    code = f"import sys, {names}; print([m for m in ('openai', 'matplotlib') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
