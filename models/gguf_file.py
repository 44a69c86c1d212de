"""A GGUF file's header: what the model is, and how much memory its parts take.

The `gguf` package has the tables of types and architectures. Its reader makes an array of every
token of a vocabulary, which takes a second for the largest ones; the header alone takes
milliseconds, so it is read here. (The format: ggml/docs/gguf.md in llama.cpp's repository.)
"""

import importlib
import importlib.metadata
import math
import mmap
import re
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from models.errors import SourceError
from models.layout import TRAINED, Layer, Layout

_gguf: Any = importlib.import_module("gguf")  # its annotations are partly unknown

__all__ = ["check_adapter", "parts", "read_layout"]

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
# struct's letters of the types that have a fixed size, by GGUF's number.
FIXED = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
ADDRESSES = 2**63  # bytes of the longest file that there can be
KEPT = 4096  # elements; longer arrays, and those of strings, are only counted
STRIDE = 1 << 17  # bytes of a vocabulary that are looked at together
ONE_BY_ONE = 64  # strings, where one is long: looking again after each would take longer
PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
BLOCK = re.compile(r"^blk\.(\d+)\.")
# Every nth layer of these sees all of the text, if the file does not say otherwise.
PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "llama4": 4}
BOTH = ("falcon-h1",)  # attention and a recurrent state in one block

Value = str | int | float | bool | tuple[Any, ...] | range


class _Tensor(Struct, frozen=True):
    name: str
    elements: int
    bytes: int
    end: int  # where the file must reach at least


class _Header(Struct, frozen=True):
    path: Path
    fields: Mapping[str, Value]
    tensors: Sequence[_Tensor]


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
    headers = [_read(each) for each in parts(path)]
    fields = headers[0].fields
    architecture = _text(path, fields, "general.architecture")
    if architecture not in _architectures():
        raise SourceError(
            f"{path}: general.architecture is '{architecture}', which gguf "
            f"{importlib.metadata.version('gguf')} does not know as a language model; a newer "
            "llama-cpp-python and gguf may."
        )
    split = int(_number(fields, "split.count", 1))
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


def check_adapter(path: Path, architecture: str) -> None:
    """Raises SourceError for a file that is no LoRA adapter, or one for another architecture."""
    fields = _read(path).fields
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
    tensors: Sequence[_Tensor],
) -> Layout:
    blocks: defaultdict[int, list[_Tensor]] = defaultdict(list)
    outside: list[_Tensor] = []
    for tensor in tensors:
        block = BLOCK.match(tensor.name)
        (blocks[int(block[1])] if block else outside).append(tensor)
    first = sum(t.bytes for t in outside if "token_embd" in t.name or "position_embd" in t.name)
    last = sum(t.bytes for t in outside) - first
    window = int(_number(own, "attention.sliding_window", 0))
    count = int(_need(path, architecture, own, "block_count"))
    if count > len(tensors):
        raise SourceError(
            f"{path}: {architecture}.block_count is {count}, and the file has {len(tensors)} "
            "tensors in all."
        )
    embedding = int(_need(path, architecture, own, "embedding_length"))
    experts = int(_number(own, "expert_used_count", 0))
    feed_forward = max(_numbers(own, "feed_forward_length", 1, 4 * embedding))
    expert = int(_number(own, "expert_feed_forward_length", feed_forward))
    return Layout(
        architecture=architecture,
        quant=_precision(fields),
        layers=tuple(
            _layer(architecture, own, at, count, blocks.get(at, []), windows=window > 0)
            for at in range(count)
        ),
        input=first,
        output=last,
        tied=not any(tensor.name == "output.weight" for tensor in outside),
        embedding=embedding,
        feed_forward=max(feed_forward, experts * expert),
        vocabulary=_vocabulary(fields, own),
        context=int(_number(own, "context_length", TRAINED)),
        window=window,
        causal=bool(own.get("attention.causal", True)),
        parameters=sum(tensor.elements for tensor in tensors),
    )


def _layer(
    architecture: str,
    own: Mapping[str, Value],
    at: int,
    count: int,
    tensors: Sequence[_Tensor],
    *,
    windows: bool,
) -> Layer:
    names = {tensor.name.split(".", 2)[2] for tensor in tensors}
    heads = _numbers(own, "attention.head_count", count, 1)[at]
    kv_heads = _numbers(own, "attention.head_count_kv", count, heads)[at]
    width = int(_number(own, "embedding_length", 0)) // max(1, heads)
    state = _state(own, names)
    attends = any(name.startswith(("attn_k", "attn_qkv", "attn_v")) for name in names)
    if state and architecture not in BOTH:
        attends = False
    return Layer(
        weights=sum(tensor.bytes for tensor in tensors),
        keys=int(_number(own, "attention.key_length", width)) * kv_heads * attends,
        values=int(_number(own, "attention.value_length", width)) * kv_heads * attends,
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
    inner, kernel = _number(own, "ssm.inner_size", 0), _number(own, "ssm.conv_kernel", 1)
    width = _number(own, "embedding_length", 0)
    numbers = 0.0
    if any(name.startswith("ssm_") for name in names):
        size, groups = _number(own, "ssm.state_size", 0), _number(own, "ssm.group_count", 0)
        numbers = (kernel - 1) * (inner + 2 * groups * size) + size * inner
    elif any(name.startswith("shortconv") for name in names):
        numbers = (_number(own, "shortconv.l_cache", 1) - 1) * width
    elif any(name.startswith("time_mix") for name in names):
        numbers = (2 + _number(own, "wkv.head_size", 64)) * width
    return int(4 * numbers)


def _read(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise SourceError(f"{path} is empty.")
            # Closed with the last view of it, which an error's traceback may still hold.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return _Reader(path, content).header()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


class _Reader:
    """Goes through a header from its first byte on."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content, self._size = path, content, len(content)
        self._at = 0
        self._reading = "its first bytes"

    def header(self) -> _Header:
        try:
            return self._header()
        except (struct.error, OverflowError):
            raise SourceError(
                f"{self._path} is truncated: it has {self._size} bytes and ends within "
                f"{self._reading}."
            ) from None
        except UnicodeDecodeError:
            raise SourceError(f"{self._path} is damaged: {self._reading} is not text.") from None

    def _header(self) -> _Header:
        if self._content[:4] != MAGIC:
            raise SourceError(
                f"{self._path} is not a GGUF file: it begins with {self._content[:4]!r}."
            )
        self._at = 4
        version: int = self._take("I")
        if version not in (2, 3):
            turned = " (of a big-endian machine)" if version in (2 << 24, 3 << 24) else ""
            raise SourceError(f"{self._path} is GGUF version {version}{turned}; 2 or 3 is read.")
        tensors: int = self._take("Q")
        keys: int = self._take("Q")
        fields: dict[str, Value] = {}
        for number in range(keys):
            self._reading = f"field {number + 1} of {keys}"
            key = self._string()
            self._reading = f"the field {key}"
            fields[key] = self._value(self._take("I"))
        found: list[tuple[str, int, int, int]] = []
        for number in range(tensors):
            self._reading = f"the description of tensor {number + 1} of {tensors}"
            name = self._string()
            rank: int = self._take("I")
            if rank > 4:
                raise SourceError(f"{self._path}: the tensor {name} has {rank} dimensions.")
            elements = math.prod(self._take("Q") for _ in range(rank))
            found.append((name, elements, self._take("I"), self._take("Q")))
        return self._checked(fields, found)

    def _checked(self, fields: dict[str, Value], found: list[tuple[str, int, int, int]]) -> _Header:
        """The header, if the file is as long as its tensors."""
        alignment = int(_number(fields, "general.alignment", 32)) or 32
        start = -(-self._at // alignment) * alignment
        tensors: list[_Tensor] = []
        for name, elements, kind, offset in found:
            try:
                block, size = _gguf.GGML_QUANT_SIZES[_gguf.GGMLQuantizationType(kind)]
            except (ValueError, KeyError):
                raise SourceError(
                    f"{self._path}: the tensor {name} is of type {kind}, which gguf "
                    f"{importlib.metadata.version('gguf')} does not know."
                ) from None
            length = elements // block * size
            if offset + length >= ADDRESSES:
                raise SourceError(
                    f"{self._path}: the tensor {name} is said to have {length} bytes, {offset} "
                    "bytes behind the header, which no file can; the header is damaged."
                )
            tensors.append(_Tensor(name, elements, length, start + offset + length))
        end = max((tensor.end for tensor in tensors), default=0)
        if end > self._size:
            raise SourceError(
                f"{self._path} is truncated: it has {self._size} bytes of {end}. Download it again."
            )
        return _Header(self._path, fields, tensors)

    def _take(self, letter: str) -> Any:
        form = struct.Struct(f"<{letter}")
        value = form.unpack_from(self._content, self._at)[0]
        self._at += form.size
        return value

    def _string(self) -> str:
        length: int = self._take("Q")
        if self._at + length > self._size:
            raise struct.error
        self._at += length
        return self._content[self._at - length : self._at].decode()

    def _value(self, kind: int) -> Value:
        if kind == STRING:
            return self._string()
        if kind in FIXED:
            return self._take(FIXED[kind])
        if kind != ARRAY:
            raise SourceError(f"{self._path} is damaged: {self._reading} is of type {kind}.")
        inner: int = self._take("I")
        count: int = self._take("Q")
        if inner == STRING:
            self._skip_strings(count)
            return range(count)
        if inner not in FIXED:
            raise SourceError(f"{self._path} is damaged: {self._reading} lists type {inner}.")
        if count <= KEPT:
            return tuple(self._take(FIXED[inner]) for _ in range(count))
        self._at += count * struct.calcsize(f"<{FIXED[inner]}")
        return range(count)

    def _skip_strings(self, count: int) -> None:
        """Over a vocabulary: the one loop here that takes time, so NumPy finds most lengths.

        Seven zero bytes in a row stand behind the first byte of a length below 256, and hardly
        anywhere else. Where each such place is the end of the string before it, they are lengths.
        """
        while count:
            if self._at >= self._size:
                raise struct.error
            content = np.frombuffer(
                self._content, np.uint8, min(STRIDE, self._size - self._at), self._at
            )
            zero = content == 0
            two = zero[1:-1] & zero[2:]
            four = two[:-2] & two[2:]
            starts = np.flatnonzero(four[:-3] & four[3:])
            ends = starts + 8 + content[starts]
            linked = ends[:-1] == starts[1:]
            run = len(linked) if linked.all() else int(np.argmin(linked))
            run = min(run, count) if len(starts) and starts[0] == 0 else 0
            if run:
                self._at += int(ends[run - 1])
                count -= run
            for _ in range(min(count, ONE_BY_ONE)):
                length: int = self._take("Q")
                self._at += length
                count -= 1


def _architectures() -> set[str]:
    return {str(name) for name in _gguf.MODEL_ARCH_NAMES.values()} - {"clip"}


def _precision(fields: Mapping[str, Value]) -> str:
    """The file's type as its name has it: "Q4_K_M"."""
    try:
        kind = _gguf.LlamaFileType(int(_number(fields, "general.file_type", -1)))
    except ValueError:
        return ""
    return str(kind.name).removeprefix("MOSTLY_").removeprefix("ALL_")


def _vocabulary(fields: Mapping[str, Value], own: Mapping[str, Value]) -> int:
    tokens = fields.get("tokenizer.ggml.tokens", ())
    return len(tokens) if isinstance(tokens, tuple | range) else int(_number(own, "vocab_size", 0))


def _text(path: Path, fields: Mapping[str, Value], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise SourceError(f"{path} has no {key}, so it holds no model that llama.cpp can run.")
    return value


def _need(path: Path, architecture: str, own: Mapping[str, Value], key: str) -> float:
    value = own.get(key)
    if not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise SourceError(f"{path}: {architecture}.{key} is {value}, not a positive number.")
    return value


def _number(fields: Mapping[str, Value], key: str, default: float) -> float:
    value = fields.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else default


def _numbers(own: Mapping[str, Value], key: str, count: int, default: int) -> list[int]:
    """A number a layer; files write one for all or a list."""
    value = own.get(key)
    if isinstance(value, tuple):
        found = [int(each) if math.isfinite(each) else default for each in value]
        return found + [default] * (count - len(value))
    return [int(_number(own, key, default))] * count
