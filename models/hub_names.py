"""What an `hf:` source names, and which files of a repository that is. Pure: names in, names out.

`hf:org/repo/file.gguf` is one file (all parts of a split one), `hf:org/repo:QUANT` the GGUF file of
a precision, `hf:org/repo` that of the default precision or a whole sentence-transformers folder.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from msgspec import Struct

from models.errors import DownloadFailed, SourceError
from models.settings import ModelSettings

__all__ = [
    "DEFAULT_QUANT",
    "Choice",
    "Reference",
    "choose",
    "is_whole",
    "parse",
    "references_of",
]

DEFAULT_QUANT = "Q4_K_M"
MAIN = "main"

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# How files spell their precision at the end of their names: Q4_K_M, IQ2_XXS, UD-Q4_K_XL, fp16.
LABEL = re.compile(
    r"(?:^|[-._/])(?P<label>(?:UD-)?(?:I?Q\d\w*|TQ\d_\d|B?F16|FP16|F32|FP32|MXFP4(?:_MOE)?))$",
    re.IGNORECASE | re.ASCII,
)
PART = re.compile(r"^(?P<stem>.*)-(?P<part>\d{5})-of-(?P<of>\d{5})$", re.ASCII)
# GGUF files that stand beside a model and are none: image encoders, and what quantisation measured.
NO_MODELS = ("mmproj", "imatrix")

# What sentence-transformers never loads on PyTorch: other frameworks' copies of the weights.
NEVER = (
    "*.gguf", "*.onnx", "*.onnx_data", "*.h5", "*.msgpack", "*.ot", "*.mlmodel", "*.tflite",
    "onnx/*", "openvino/*", "coreml/*", ".gitattributes", ".github/*",
)  # fmt: skip
SAFE = ("*.safetensors", "*.safetensors.index.json")
PICKLED = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt")
MODULES = ("modules.json", "config.json")


class Reference(Struct, frozen=True, kw_only=True):
    """What to fetch from one repository.

    `wants` says what a repository alone means: a GGUF file (a model to chat with), a
    sentence-transformers folder or else a GGUF file (one that embeds or reranks), or whichever
    there is.
    """

    repo: str
    file: str = ""
    quant: str = ""  # upper case; empty: the default one
    wants: Literal["gguf", "folder", "any"] = "any"
    revision: str = MAIN

    def __str__(self) -> str:
        if self.file:
            return f"hf:{self.repo}/{self.file}"
        return f"hf:{self.repo}:{self.quant}" if self.quant else f"hf:{self.repo}"


class Choice(NamedTuple):
    """Files of a repository that make one model; the first is the one to load."""

    files: tuple[str, ...]
    quant: str = ""  # by which a GGUF file was found
    folder: bool = False


def parse(source: str, model: ModelSettings | None = None) -> Reference:
    """What `source` refers to, `model` being what it is for. Raises SourceError."""
    scheme, _, rest = source.partition(":")
    path, colon, quant = rest.partition(":")
    owner, _, inside = path.partition("/")
    name, _, file = inside.partition("/")
    repo = f"{owner}/{name}"
    if scheme != "hf" or not REPOSITORY.fullmatch(repo) or ".." in path.split("/"):
        raise SourceError(
            f"Source '{source}': write hf:ORG/REPO, hf:ORG/REPO:QUANT or hf:ORG/REPO/FILE.gguf."
        )
    if colon and (file or not QUANT.fullmatch(quant)):
        raise SourceError(f"Source '{source}': '{quant}' is no precision; one is Q4_K_M.")
    if file and not file.lower().endswith(".gguf"):
        raise SourceError(f"Source '{source}': {file} is no GGUF file.")
    if model is None:
        return Reference(repo=repo, file=file, quant=_same(quant))
    return Reference(
        repo=repo,
        file=file,
        quant="" if file else _same(quant or model.quant),
        wants="gguf" if model.kind == "chat" else "folder",
        revision=model.revision or MAIN,
    )


def references_of(name: str, settings: Callable[[str], ModelSettings]) -> tuple[Reference, ...]:
    """What a model's name or an `hf:` source stands for: the model's adapters, last itself.

    `settings` finds a model by its name. Raises SourceError where nothing of it is at a hub, and
    what `settings` raises.
    """
    if name.startswith("hf:"):
        return (parse(name),)
    model = settings(name)
    found = [parse(each.source) for each in model.lora if each.source.startswith("hf:")]
    if model.source.startswith("hf:"):
        found.append(parse(model.source, model))
    if not found:
        raise SourceError(
            f"The model '{name}' comes from '{model.source}': there is nothing to download."
        )
    return tuple(dict.fromkeys(found))


def choose(listing: Iterable[str], reference: Reference, *, lone: bool = True) -> Choice:
    """The files of a repository that `reference` means; raises DownloadFailed.

    `lone`: a repository's only GGUF file will do where no precision was asked for. That is right
    for what a hub lists, not for what happens to be on a disk.
    """
    names = sorted(listing)
    models = [name for name in names if _is_model(name)]
    if reference.file:
        if reference.file not in names:
            raise _failed(reference, f"has no file {reference.file}.", _shown(models))
        return Choice(_parts(reference.file, names, reference))
    weights = [name for name in names if _any(name, (*SAFE, *PICKLED)) and not _any(name, NEVER)]
    first = reference.wants == "folder" or (reference.wants == "any" and not models)
    if not reference.quant and first and weights and any(name in names for name in MODULES):
        return Choice(_folder(names), folder=True)
    if not models:
        raise _without_gguf(reference, weights)
    return _by_quant(models, reference, lone=lone)


def is_whole(names: Sequence[str]) -> bool:
    """Whether these files look like a whole sentence-transformers folder."""
    return any(_any(name, (*SAFE, *PICKLED)) for name in names) and any(
        name in names for name in MODULES
    )


def _by_quant(models: Sequence[str], reference: Reference, *, lone: bool) -> Choice:
    wanted = reference.quant or DEFAULT_QUANT
    firsts = [name for name in models if _part(name) in (None, 1)]
    found = [name for name in firsts if _label(name) == wanted]
    # Unsloth's dynamic precisions are a Q4_K_XL too, where there is no plain one.
    found = found or [name for name in firsts if _label(name) == f"UD-{wanted}"]
    if not found and not reference.quant and lone and len(firsts) == 1:  # whichever it is
        return Choice(_parts(firsts[0], models, reference))
    if not found:
        there = sorted({_label(name) or name for name in firsts})
        raise _failed(
            reference,
            f"has no {wanted}.",
            f" It has {', '.join(there)}: write hf:{reference.repo}:QUANT.",
        )
    if len(found) > 1:
        raise _failed(
            reference,
            f"has {len(found)} files of precision {wanted}.",
            f" Name one: {', '.join(f'hf:{reference.repo}/{name}' for name in found)}.",
        )
    return Choice(_parts(found[0], models, reference), quant=wanted)


def _parts(file: str, names: Sequence[str], reference: Reference) -> tuple[str, ...]:
    """All parts of a split file, the first one first; of another, itself."""
    match = PART.match(file[: -len(".gguf")])
    if match is None:
        return (file,)
    count = int(match["of"])
    parts = tuple(
        f"{match['stem']}-{number:05}-of-{count:05}{file[-len('.gguf') :]}"
        for number in range(1, count + 1)
    )
    missing = [name for name in parts if name not in names]
    if missing or not parts:
        raise _failed(reference, f"lacks {len(missing)} parts of {file}:", f" {_list(missing)}.")
    return parts


def _folder(names: Sequence[str]) -> tuple[str, ...]:
    """What sentence-transformers reads. Pickled weights only where there are no others."""
    wanted = [name for name in names if not _any(name, NEVER)]
    if any(_any(name, SAFE) for name in wanted):
        wanted = [name for name in wanted if not _any(name, PICKLED)]
    return tuple(wanted)


def _is_model(name: str) -> bool:
    base = name.rpartition("/")[2].lower()
    return base.endswith(".gguf") and not any(word in base for word in NO_MODELS)


def _label(name: str) -> str:
    """A GGUF file's precision, by its name or else by its folder's; empty if neither tells."""
    stem = name[: -len(".gguf")]
    split = PART.match(stem)
    stem = split["stem"] if split else stem
    for text in (stem, stem.rpartition("/")[0]):
        if found := LABEL.search(text):
            return _same(found["label"])
    return ""


def _part(name: str) -> int | None:
    match = PART.match(name[: -len(".gguf")])
    return int(match["part"]) if match else None


def _same(quant: str) -> str:
    """One spelling of each precision."""
    return re.sub(r"\bFP(16|32)$", r"F\1", quant.upper())


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _without_gguf(reference: Reference, weights: Sequence[str]) -> DownloadFailed:
    if any(_any(name, SAFE) for name in weights):
        return _failed(
            reference,
            "has safetensors and no GGUF file.",
            " Jurat runs GGUF files: look for a repository of the same model with GGUF in its "
            "name, convert it with llama.cpp's convert_hf_to_gguf.py, or serve it with vLLM and "
            "name that server as an upstream: source.",
        )
    return _failed(reference, "has no GGUF file.", " Is it a model's repository?")


def _shown(models: Sequence[str]) -> str:
    return f" It has {_list(models)}." if models else " It has no GGUF file at all."


def _list(names: Sequence[str], most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _failed(reference: Reference, what: str, advice: str) -> DownloadFailed:
    at = "" if reference.revision == MAIN else f" at {reference.revision}"
    return DownloadFailed(
        f"{reference}: the repository {reference.repo}{at} {what}{advice}", "no_such_file"
    )
