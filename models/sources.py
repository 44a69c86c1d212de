"""Where a model is: in a Python package, on disk, fetched from a hub, or on another server.

`package:`, `file:`, `hf:` and `upstream:`.
"""

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

from models.errors import NotDownloaded, SourceError
from models.hub_cache import cached
from models.hub_names import parse
from models.settings import ModelSettings

__all__ = ["UPSTREAM", "adapters", "locate", "resolve", "upstream_url"]

UPSTREAM = "upstream:"


def upstream_url(model: ModelSettings) -> str:
    """The URL of a model that another server runs. Raises SourceError for what is none."""
    url = model.source.removeprefix(UPSTREAM)
    if not _is_base(url):
        raise SourceError(
            f"The source of model '{model.id}' is not a server's URL: write "
            "upstream:http://HOST:PORT/v1, the URL that ends before /chat/completions. A key "
            "stands in an environment variable, named in upstream.api_key_env."
        )
    return url


def _is_base(url: str) -> bool:
    """Whether paths can be put behind it. A password would be seen in logs."""
    try:
        parts = urlsplit(url)
        reachable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    extra = parts.query or parts.fragment or "@" in parts.netloc or any(c <= " " for c in url)
    return bool(reachable) and not extra


def locate(model: ModelSettings, base: Path, data_dir: Path | None) -> Path:
    """Where a model's file or folder is. Raises SourceError, also for one of the wrong kind.

    An upstream model has none: its URL is checked, and `base` is the answer.
    """
    if model.source.startswith(UPSTREAM):
        upstream_url(model)
        return base
    if model.upstream is not None:
        raise SourceError(
            f"Model '{model.id}' has a table [upstream], but its source '{model.source}' is not "
            "upstream:URL."
        )
    path = resolve(model.source, base, data_dir, model)
    if model.kind == "chat" and path.is_dir():
        raise SourceError(
            f"Source '{model.source}' of model '{model.id}': {path} is a folder; a model of kind "
            '"chat" is a GGUF file.'
        )
    if (
        model.kind in ("embedding", "rerank")
        and not path.is_dir()
        and path.suffix.lower() != ".gguf"
    ):
        raise SourceError(
            f"Source '{model.source}' of model '{model.id}': {path} is neither a GGUF file nor a "
            f'sentence-transformers folder; a model of kind "{model.kind}" is one of these.'
        )
    return path


def adapters(model: ModelSettings, base: Path, data_dir: Path | None) -> tuple[Path, ...]:
    """Where a model's LoRA adapters are, in its order. Raises as `resolve` does."""
    return tuple(resolve(each.source, base, data_dir) for each in model.lora)


def resolve(
    source: str, base: Path, data_dir: Path | None = None, model: ModelSettings | None = None
) -> Path:
    """The local path of a source; relative `file:` paths start at `base`.

    An `hf:` source is what was pulled of it, at the commit that `data_dir` remembers, or else what
    the hub's cache has; `model` is what it is for, if it is a model. Raises SourceError, naming the
    source and what to do, if nothing is there, and NotDownloaded if it is still at the hub.
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
            return _pulled(source, data_dir, model)
        case "upstream":
            raise SourceError(f"Source '{source}' is a server; it has no files.")
        case _:
            raise SourceError(
                f"Source '{source}': unknown kind '{scheme}'; there are package:, file:, hf: and "
                "upstream:."
            )
    if not path.exists():
        raise SourceError(f"Source '{source}': there is no file {path}.")
    return path


def _pulled(source: str, data_dir: Path | None, model: ModelSettings | None) -> Path:
    try:
        record = cached(parse(source, model), data_dir)
        path = record.path() if record is not None else None
    except OSError as error:  # a record, or a folder of the cache, that cannot be read
        raise SourceError(f"Source '{source}': {error}.") from error
    if path is None:
        name = source if model is None else model.id
        raise NotDownloaded(
            f"Source '{source}' is not on this machine; fetch it with: jurat pull {name}"
        )
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
