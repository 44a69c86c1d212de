"""Writes a GGUF of a Llama's shape with random weights: speed does not depend on their values.

    python -m clients.bench.random_gguf llama-8b.gguf
    python -m clients.bench.random_gguf tiny.gguf --layers 2 --embd 64 --heads 4 --kv-heads 2 \
        --ff 128 --vocab 512

Needs the package `gguf`. One tensor is in memory at a time. What the model says is noise, but its
tokenizer is whole: every byte has a token, so that any text can be tokenised and any token shown.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Shape", "main", "tokens_and_merges", "write"]

BLOCK = 32  # weights of a Q8_0 block: one float16 scale and as many int8
SPREAD = 0.02  # standard deviation of the weights
INT8_SPREAD = 73.3  # of int8 drawn evenly from -127 to 127
END = "<|end|>"
BEGIN = "<|begin|>"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
Kind = Literal["q8_0", "f16"]


@dataclass(frozen=True)
class Shape:
    """Llama 3.1 8B's, unless told otherwise."""

    layers: int = 32
    embd: int = 4096
    heads: int = 32
    kv_heads: int = 8
    ff: int = 14336
    vocab: int = 128256
    context: int = 131072

    def fault(self) -> str | None:
        """Why llama.cpp could not load it, or None."""
        if self.embd % BLOCK or self.ff % BLOCK:
            return f"--embd and --ff take multiples of {BLOCK}"
        if self.embd % self.heads or self.heads % self.kv_heads:
            return "--embd takes a multiple of --heads, and --heads one of --kv-heads"
        if self.embd // self.heads % 2:
            return "a head needs an even number of dimensions: change --embd or --heads"
        if not 258 <= self.vocab <= 2**21:
            return "--vocab takes 258 (every byte, a beginning and an end) to 2,097,152"
        return None


def write(path: Path, shape: Shape, kind: Kind, seed: int = 0) -> None:
    """Write the file. Raises OSError, and ValueError for a shape that cannot be loaded."""
    if fault := shape.fault():
        raise ValueError(fault)
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape, kind)
    for name, rows in tensors(shape):
        _announce(writer, name, rows, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, rows in tensors(shape):
        writer.write_tensor_data(_weights(rng, rows, kind))
    writer.close()


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and NumPy shapes, in the order of the file; those of one dimension are norms."""
    embd, kv = shape.embd, shape.embd // shape.heads * shape.kv_heads
    yield "token_embd.weight", (shape.vocab, embd)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (embd,)
        yield f"{block}.attn_q.weight", (embd, embd)
        yield f"{block}.attn_k.weight", (kv, embd)
        yield f"{block}.attn_v.weight", (kv, embd)
        yield f"{block}.attn_output.weight", (embd, embd)
        yield f"{block}.ffn_norm.weight", (embd,)
        yield f"{block}.ffn_gate.weight", (shape.ff, embd)
        yield f"{block}.ffn_up.weight", (shape.ff, embd)
        yield f"{block}.ffn_down.weight", (embd, shape.ff)
    yield "output_norm.weight", (embd,)
    yield "output.weight", (shape.vocab, embd)


def tokens_and_merges(count: int) -> tuple[list[str], list[str]]:
    """A byte-level BPE of `count` tokens: bytes, then pairs, then triples; the last two control."""
    letters = _byte_letters()
    tokens, merges = list(letters), list[str]()
    wanted = count - 2
    longer = letters
    while len(tokens) < wanted:
        grown: list[str] = []
        for left in longer:
            for right in letters[: wanted - len(tokens) - len(grown)]:
                grown.append(left + right)
                merges.append(f"{left} {right}")
        tokens += grown
        longer = grown
    return [*tokens, BEGIN, END], merges


def _byte_letters() -> list[str]:
    """GPT-2's letter for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def _describe(writer: gguf.GGUFWriter, shape: Shape, kind: Kind) -> None:
    writer.add_name("random weights")
    writer.add_file_type(
        gguf.LlamaFileType.MOSTLY_Q8_0 if kind == "q8_0" else gguf.LlamaFileType.MOSTLY_F16
    )
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embd)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    writer.add_rope_dimension_count(shape.embd // shape.heads)
    writer.add_vocab_size(shape.vocab)
    tokens, merges = tokens_and_merges(shape.vocab)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([*[normal] * (len(tokens) - 2), control, control])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_chat_template(TEMPLATE)


def _announce(writer: gguf.GGUFWriter, name: str, rows: tuple[int, ...], kind: Kind) -> None:
    if len(rows) == 1:
        writer.add_tensor_info(name, rows, np.dtype(np.float32), 4 * rows[0])
    elif kind == "f16":
        writer.add_tensor_info(name, rows, np.dtype(np.float16), 2 * rows[0] * rows[1])
    else:
        width = rows[1] // BLOCK * (BLOCK + 2)
        writer.add_tensor_info(
            name,
            (rows[0], width),
            np.dtype(np.uint8),
            rows[0] * width,
            raw_dtype=gguf.GGMLQuantizationType.Q8_0,
        )


def _weights(
    rng: np.random.Generator, rows: tuple[int, ...], kind: Kind
) -> NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8]:
    if len(rows) == 1:
        return np.ones(rows, np.float32)
    if kind == "f16":
        drawn = rng.standard_normal(rows, np.float32)
        drawn *= SPREAD
        return drawn.astype(np.float16)
    blocks = np.empty((rows[0] * rows[1] // BLOCK, BLOCK + 2), np.uint8)
    blocks[:, :2] = np.array([SPREAD / INT8_SPREAD], np.float16).view(np.uint8)
    blocks[:, 2:] = rng.integers(-127, 128, (len(blocks), BLOCK), np.int8).view(np.uint8)
    return blocks.reshape(rows[0], -1)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    standard = Shape()
    made = argparse.ArgumentParser(
        prog="python -m clients.bench.random_gguf",
        description="Write a GGUF of a Llama's shape with random weights; default: 8B's.",
    )
    made.add_argument("file", type=Path)
    made.add_argument("--kind", choices=["q8_0", "f16"], default="q8_0")
    for name in ("layers", "embd", "heads", "kv_heads", "ff", "vocab", "context"):
        option = f"--{name.replace('_', '-')}"
        value: int = getattr(standard, name)
        made.add_argument(option, type=int, default=value, help="default: %(default)s")
    options = made.parse_args(argv)
    shape = Shape(
        options.layers,
        options.embd,
        options.heads,
        options.kv_heads,
        options.ff,
        options.vocab,
        options.context,
    )
    try:
        write(options.file, shape, options.kind)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{made.prog}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
