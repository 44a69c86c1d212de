"""A model's layout: from its files where they are here, else from its settings."""

from pathlib import Path

from msgspec.structs import replace

from models.errors import NotDownloaded, SourceError
from models.gguf_file import parts, read_layout
from models.layout import Layout, estimated
from models.settings import ModelSettings
from models.sources import locate, resolve

__all__ = ["inspect"]

# A folder may have its weights in several formats, of which one is loaded.
FORMATS = ("*.safetensors", "pytorch_model*.bin")


def inspect(settings: ModelSettings, base: Path, data_dir: Path) -> Layout | None:
    """What the model is made of; None for one that takes no memory of this machine.

    `base` is where relative `file:` sources start, `data_dir` knows what was pulled. Raises
    SourceError for files that are missing or not what they should be, and where there is neither a
    file nor a `[shape]`.
    """
    if settings.kind == "fake" or settings.source.startswith("upstream:"):
        return None
    try:
        path = locate(settings, base, data_dir)
    except NotDownloaded:
        return estimated(settings)
    if not (path.is_dir() or path.is_file()):  # a pipe, say: to open it may take for ever
        raise SourceError(f"{path} is neither a file nor a folder.")
    layout = _folder(path) if path.is_dir() else read_layout(path)
    adapters = sum(_size(resolve(each.source, base, data_dir)) for each in settings.lora)
    return replace(layout, adapters=adapters)


def _folder(path: Path) -> Layout:
    """Of a sentence-transformers model, whose weights may lie one folder deeper."""
    for pattern in FORMATS:
        weights = sum(each.stat().st_size for each in path.rglob(pattern))
        if weights:
            return Layout(folder=True, input=weights)
    raise SourceError(f"{path} has no weights: neither {' nor '.join(FORMATS)} is in it.")


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in parts(path))
