"""What a GGUF file's header says: what the model is, and how much memory its parts take."""

import importlib
import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import SourceError
from models.gguf_header import LARGEST, Tensor, Value, number, read_header
from models.layout import TRAINED, Layer, Layout

_gguf: Any = importlib.import_module("gguf")  # its annotations are partly unknown

__all__ = ["check_adapter", "check_headers", "parts", "read_layout"]

PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
LAYERS = 1024  # llama.cpp takes 512; a plan weighs each
BLOCK = re.compile(r"^blk\.(\d+)\.")
# Every nth layer of these sees all of the text, if the file does not say otherwise.
PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "llama4": 4}
BOTH = ("falcon-h1",)  # attention and a recurrent state in one block


def parts(path: Path) -> list[Path]:
    """All files of a model that is split over several, or the one. Raises SourceError."""
    found = PART.match(path.name)
    if found is None:
        return [path]
    number, count = int(found["number"]), int(found["count"])
    files = [
        path.with_name(f"{found['stem']}-{at:05}-of-{count:05}.gguf") for at in range(1, count + 1)
    ]
    if number != 1:
        raise SourceError(f"{path} is part {number} of {count}; name the first, {files[0].name}.")
    missing = [each.name for each in files if not each.exists()]
    if missing:
        raise SourceError(f"{path} is the first of {count} parts, and {missing[0]} is not there.")
    return files


def read_layout(path: Path) -> Layout:
    """The layout of a model file, and of its parts. Raises SourceError naming file and fault."""
    headers = [read_header(each) for each in parts(path)]
    fields = headers[0].fields
    architecture = _text(path, fields, "general.architecture")
    if architecture not in _architectures():
        raise SourceError(
            f"{path}: general.architecture is '{architecture}', which gguf "
            f"{importlib.metadata.version('gguf')} does not know as a language model; a newer "
            "llama-cpp-python and gguf may."
        )
    split = int(number(fields, "split.count", 1))
    if split > 1 and split != len(headers):
        raise SourceError(
            f"{path}: split.count is {split}, so its name must end in -00001-of-{split:05}.gguf."
        )
    own = {
        key.removeprefix(f"{architecture}."): value
        for key, value in fields.items()
        if key.startswith(f"{architecture}.")
    }
    return _layout(path, architecture, fields, own, [t for each in headers for t in each.tensors])


def check_headers(path: Path) -> None:
    """Raises SourceError for a model file, or a part of it, that no loader should be given.

    A pipe or the like is not looked at: to open it may take for ever.
    """
    for each in parts(path):
        if each.is_file() or not each.exists():
            read_header(each)


def check_adapter(path: Path, architecture: str) -> None:
    """Raises SourceError for a file that is no LoRA adapter, or one for another architecture."""
    fields = read_header(path).fields
    kinds = (fields.get("general.type"), fields.get("adapter.type"))
    if kinds != ("adapter", "lora"):
        raise SourceError(f"{path} is no LoRA adapter: its general.type is {kinds[0]!r}.")
    own = fields.get("general.architecture")
    if own != architecture:
        raise SourceError(f"{path} is an adapter for '{own}', and the model is '{architecture}'.")


def _layout(
    path: Path,
    architecture: str,
    fields: Mapping[str, Value],
    own: Mapping[str, Value],
    tensors: Sequence[Tensor],
) -> Layout:
    blocks: defaultdict[int, list[Tensor]] = defaultdict(list)
    outside: list[Tensor] = []
    for tensor in tensors:
        block = BLOCK.match(tensor.name)
        (blocks[int(block[1])] if block else outside).append(tensor)
    first = sum(t.bytes for t in outside if "token_embd" in t.name or "position_embd" in t.name)
    last = sum(t.bytes for t in outside) - first
    window = int(number(own, "attention.sliding_window", 0))
    count = int(_need(path, architecture, own, "block_count"))
    if count > LAYERS:
        raise SourceError(
            f"{path}: {architecture}.block_count is {count}, and no model has more than {LAYERS}."
        )
    if count > len(tensors):
        raise SourceError(
            f"{path}: {architecture}.block_count is {count}, and the file has {len(tensors)} "
            "tensors in all."
        )
    embedding = int(_need(path, architecture, own, "embedding_length"))
    trained = TRAINED
    if "context_length" in own:
        trained = int(_need(path, architecture, own, "context_length"))
    experts = int(number(own, "expert_used_count", 0))
    feed_forward = max(
        _of_layer(own, "feed_forward_length", at, 4 * embedding) for at in range(count)
    )
    expert = int(number(own, "expert_feed_forward_length", feed_forward))
    return Layout(
        architecture=architecture,
        quant=_precision(fields),
        layers=tuple(
            _layer(architecture, own, at, blocks.get(at, []), windows=window > 0)
            for at in range(count)
        ),
        input=first,
        output=last,
        tied=not any(tensor.name == "output.weight" for tensor in outside),
        embedding=embedding,
        feed_forward=max(feed_forward, experts * expert),
        vocabulary=_vocabulary(fields, own),
        context=trained,
        window=window,
        causal=bool(own.get("attention.causal", True)),
        parameters=sum(tensor.elements for tensor in tensors),
    )


def _layer(
    architecture: str,
    own: Mapping[str, Value],
    at: int,
    tensors: Sequence[Tensor],
    *,
    windows: bool,
) -> Layer:
    names = {tensor.name.split(".", 2)[2] for tensor in tensors}
    heads = _of_layer(own, "attention.head_count", at, 1)
    kv_heads = _of_layer(own, "attention.head_count_kv", at, heads)
    width = int(number(own, "embedding_length", 0)) // max(1, heads)
    state = _state(own, names)
    attends = any(name.startswith(("attn_k", "attn_qkv", "attn_v")) for name in names)
    if state and architecture not in BOTH:
        attends = False
    return Layer(
        weights=sum(tensor.bytes for tensor in tensors),
        keys=int(number(own, "attention.key_length", width)) * kv_heads * attends,
        values=int(number(own, "attention.value_length", width)) * kv_heads * attends,
        windowed=windows and _windowed(architecture, own, at),
        state=state,
    )


def _windowed(architecture: str, own: Mapping[str, Value], at: int) -> bool:
    pattern = own.get("attention.sliding_window_pattern", PATTERNS.get(architecture, 1))
    if isinstance(pattern, tuple):
        return at < len(pattern) and bool(pattern[at])
    every = int(pattern) if isinstance(pattern, int) else 1
    return every <= 1 or (at + 1) % every != 0


def _state(own: Mapping[str, Value], names: set[str]) -> int:
    """Bytes of a sequence's recurrent state in a block of these tensors, in float32."""
    inner, kernel = number(own, "ssm.inner_size", 0), number(own, "ssm.conv_kernel", 1)
    width = number(own, "embedding_length", 0)
    numbers = 0.0
    if any(name.startswith("ssm_") for name in names):
        size, groups = number(own, "ssm.state_size", 0), number(own, "ssm.group_count", 0)
        numbers = (kernel - 1) * (inner + 2 * groups * size) + size * inner
    elif any(name.startswith("shortconv") for name in names):
        numbers = (number(own, "shortconv.l_cache", 1) - 1) * width
    elif any(name.startswith("time_mix") for name in names):
        numbers = (2 + number(own, "wkv.head_size", 64)) * width
    return int(4 * numbers)


def _architectures() -> set[str]:
    return {str(name) for name in _gguf.MODEL_ARCH_NAMES.values()} - {"clip"}


def _precision(fields: Mapping[str, Value]) -> str:
    """The file's type as its name has it: "Q4_K_M"."""
    try:
        kind = _gguf.LlamaFileType(int(number(fields, "general.file_type", -1)))
    except ValueError:
        return ""
    return str(kind.name).removeprefix("MOSTLY_").removeprefix("ALL_")


def _vocabulary(fields: Mapping[str, Value], own: Mapping[str, Value]) -> int:
    tokens = fields.get("tokenizer.ggml.tokens", ())
    return len(tokens) if isinstance(tokens, tuple | range) else int(number(own, "vocab_size", 0))


def _text(path: Path, fields: Mapping[str, Value], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise SourceError(f"{path} has no {key}, so it holds no model that llama.cpp can run.")
    return value


def _need(path: Path, architecture: str, own: Mapping[str, Value], key: str) -> float:
    value = own.get(key)
    if not isinstance(value, int | float) or not 1 <= value < LARGEST:
        raise SourceError(f"{path}: {architecture}.{key} is {value}, not a positive number.")
    return value


def _of_layer(own: Mapping[str, Value], key: str, at: int, default: int) -> int:
    """A layer's number; files write one for all or a list."""
    value = own.get(key)
    if not isinstance(value, tuple):
        return int(number(own, key, default))
    return int(number({key: value[at]}, key, default)) if at < len(value) else default
