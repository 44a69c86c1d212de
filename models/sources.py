"""Where a model's files are: `package:` inside a Python package, `file:` on disk."""

import importlib.util
from pathlib import Path

from models.errors import NotDownloaded, SourceError
from models.settings import ModelSettings

__all__ = ["locate", "resolve"]


def locate(model: ModelSettings, base: Path) -> Path:
    """Where a model's file or folder is. Raises SourceError, also for one of the wrong kind."""
    path = resolve(model.source, base)
    if model.kind == "chat" and path.is_dir():
        raise SourceError(
            f"Source '{model.source}' of model '{model.id}': {path} is a folder; a model of kind "
            '"chat" is a GGUF file.'
        )
    if model.kind == "embedding" and not path.is_dir() and path.suffix.lower() != ".gguf":
        raise SourceError(
            f"Source '{model.source}' of model '{model.id}': {path} is neither a GGUF file nor a "
            'sentence-transformers folder; a model of kind "embedding" is one of these.'
        )
    return path


def resolve(source: str, base: Path) -> Path:
    """The local path of a source; relative `file:` paths start at `base`.

    Raises SourceError, naming the source and what to do, if nothing is there.
    """
    scheme, _, rest = source.partition(":")
    if not rest:
        raise SourceError(f"Source '{source}' has no path; write package:NAME/FILE or file:PATH.")
    match scheme:
        case "package":
            path = _in_package(source, *rest.partition("/")[::2])
        case "file":
            try:
                path = base / Path(rest).expanduser()
            except RuntimeError as error:  # ~NAME, and nobody has that name
                raise SourceError(f"Source '{source}': {error}") from error
        case "hf":
            raise NotDownloaded(f"Source '{source}' is not on this machine.")
        case "upstream":
            raise SourceError(
                f"Source '{source}': {scheme}: sources are not built yet. Download the file and "
                "name it as file:PATH."
            )
        case _:
            raise SourceError(f"Source '{source}': unknown kind '{scheme}'; use package: or file:.")
    if not path.exists():
        raise SourceError(f"Source '{source}': there is no file {path}.")
    return path


def _in_package(source: str, package: str, inside: str) -> Path:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # __main__, say: loaded, but from no package
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            f"Source '{source}': the Python package {package} is not installed; "
            f"pip install {package.replace('_', '-')}."
        )
    return Path(next(iter(spec.submodule_search_locations))) / inside
