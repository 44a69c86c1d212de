"""A model's layout: from its files where they are here, else from its settings."""

from pathlib import Path

from msgspec.structs import replace

from models.errors import NotDownloaded, SourceError
from models.gguf_file import check_adapter, read_layout
from models.layout import Layout, estimated
from models.settings import ModelSettings
from models.sources import adapters, locate

__all__ = ["inspect"]

# A folder may have its weights in several formats, of which one is loaded.
FORMATS = ("*.safetensors", "pytorch_model*.bin")


def inspect(settings: ModelSettings, base: Path, data_dir: Path) -> Layout | None:
    """What the model is made of; None for one that takes no memory of this machine.

    `base` is where relative `file:` sources start, `data_dir` knows what was pulled. Raises
    SourceError for files that are missing or not what they should be, adapters among them, and
    where there is neither a file nor a `[shape]`; NotDownloaded for an adapter that is still at the
    hub.
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
    beside = adapters(settings, base, data_dir)
    if beside and layout.folder:
        raise SourceError(
            f"Model '{settings.id}': adapters (lora) are for GGUF files, and {path} is a folder."
        )
    for adapter in beside:
        if not adapter.is_file():
            raise SourceError(f"{adapter} is no file.")
        check_adapter(adapter, layout.architecture)
    return replace(layout, adapters=sum(each.stat().st_size for each in beside))


def _folder(path: Path) -> Layout:
    """Of a sentence-transformers model, whose weights may lie one folder deeper."""
    for pattern in FORMATS:
        weights = sum(each.stat().st_size for each in path.rglob(pattern))
        if weights:
            return Layout(folder=True, input=weights)
    raise SourceError(f"{path} has no weights: neither {' nor '.join(FORMATS)} is in it.")
