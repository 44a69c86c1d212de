"""Reading a GGUF's header: what it says of real and tiny models, and what is wrong with a file."""

import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.errors import SourceError
from models.gguf_file import parts, read_layout
from models.gguf_header import read_header
from models.sources import resolve
from tests.real_models import gemma3_270m, smollm2_path
from tests.tiny_models import CONTEXT, WINDOW, write_hybrid, write_recurrent, write_windowed


def write(
    path: Path,
    tokens: list[str] | None = None,
    architecture: str = "llama",
    *,
    blocks: int | None = 1,
    parts: int = 0,
) -> Path:
    """A file of a few tensors that nothing could run."""
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=parts)
    if blocks is not None:
        writer.add_block_count(blocks)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_token_list(tokens or ["a", "b"])
    for at in range(4):
        writer.add_tensor(f"blk.0.ffn_{at}.weight", np.ones((32, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_real_models() -> None:
    smollm2 = read_layout(smollm2_path())
    assert (smollm2.architecture, smollm2.quant, len(smollm2.layers)) == ("llama", "Q4_1", 30)
    assert {(layer.keys, layer.values) for layer in smollm2.layers} == {(192, 192)}
    assert (smollm2.vocabulary, smollm2.context, smollm2.tied) == (49152, 8192, True)
    assert smollm2.parameters == 134_515_008
    gemma = read_layout(resolve(gemma3_270m().source, Path()))
    assert (gemma.quant, gemma.window, gemma.vocabulary) == ("Q4_K_M", 512, 262144)
    assert [at for at, layer in enumerate(gemma.layers) if not layer.windowed] == [5, 11, 17]


def test_tensor_bytes_are_those_of_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_windowed(path)
    layout = read_layout(path)
    tensors = gguf.GGUFReader(path).tensors
    assert layout.weights == sum(int(each.n_bytes) for each in tensors)
    first = sum(int(each.n_bytes) for each in tensors if each.name.startswith("blk.0."))
    assert layout.layers[0].weights == first


def test_caches_of_every_kind(tmp_path: Path) -> None:
    write_windowed(tmp_path / "windowed.gguf")
    windowed = read_layout(tmp_path / "windowed.gguf")
    assert (windowed.window, windowed.context) == (WINDOW, CONTEXT)
    assert [layer.windowed for layer in windowed.layers] == [True, False, True, False]
    assert not windowed.recurrent

    write_recurrent(tmp_path / "recurrent.gguf")
    recurrent = read_layout(tmp_path / "recurrent.gguf")
    # Mamba's: a kernel of 4 less the newest, and 8 numbers, for each of 128 channels; float32.
    assert {layer.state for layer in recurrent.layers} == {4 * 128 * (3 + 8)}
    assert not any(layer.keys for layer in recurrent.layers)

    write_hybrid(tmp_path / "hybrid.gguf")
    hybrid = read_layout(tmp_path / "hybrid.gguf")
    assert [bool(layer.keys) for layer in hybrid.layers] == [False, True, False, True]
    assert [layer.state for layer in hybrid.layers] == [4 * 2 * 64, 0, 4 * 2 * 64, 0]


@pytest.mark.parametrize(
    "tokens",
    [
        [f"token {n}" for n in range(70_000)],
        ["", "x" * 300, "\0" * 20, "y"] * 200,
        ["z" * n for n in range(250, 262)] * 3,
        ["\0" * n for n in range(40)],
    ],
    ids=["many", "long and zeros", "around 255", "zeros"],
)
def test_vocabularies_of_any_text_are_passed_over(tmp_path: Path, tokens: list[str]) -> None:
    layout = read_layout(write(tmp_path / "model.gguf", tokens))
    assert layout.vocabulary == len(tokens)
    assert layout.layers[0].weights == 4 * 32 * 64 * 4


def test_files_that_are_no_gguf(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"model\.gguf is empty"):
        read_layout(path)
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(
        SourceError, match=r"model\.gguf is not a GGUF file: it begins with b'vers'"
    ):
        read_layout(path)
    path.write_bytes(b"GGUF\0\0\0\3" + bytes(16))
    with pytest.raises(SourceError, match="big-endian"):
        read_layout(path)
    with pytest.raises(SourceError, match="No such file"):
        read_layout(tmp_path / "none.gguf")


def test_every_truncation_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in [*range(4, 1200, 37), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"cut\.gguf is truncated: it has \d+ bytes"):
            read_layout(path)


@pytest.mark.parametrize(("sides", "offset"), [((2**63, 2**63), 0), ((32,), 2**63)])
def test_a_tensor_that_no_file_can_hold_is_named(
    tmp_path: Path, sides: tuple[int, ...], offset: int
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + struct.pack("<Q11s", 11, b"output.norm")
        + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, 0, offset)
    )
    with pytest.raises(SourceError, match=r"model\.gguf: the tensor output\.norm is said to have"):
        read_layout(path)


def _sized(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (struct.pack("<QQ", 0, 2**60), "1152921504606846976 fields"),
        (struct.pack("<QQ", 2**60, 0), "1152921504606846976 tensors"),
        (struct.pack("<QQQ", 0, 1, 2**19), "field 1 of 1 has a name of 524288 bytes"),
        (
            struct.pack("<QQ", 0, 1) + _sized(b"words") + struct.pack("<IIQ", 9, 8, 2**60),
            "1152921504606846976 texts in the field words",
        ),
        (
            struct.pack("<QQ", 0, 1) + _sized(b"digits") + struct.pack("<IIQ", 9, 4, 2**60),
            "ends within the field digits",
        ),
    ],
    ids=["fields", "tensors", "a name", "texts", "numbers"],
)
def test_counts_beyond_any_models_are_refused_before_anything_is_read(
    tmp_path: Path, header: bytes, said: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + header)
    os.truncate(path, 1 << 20)  # zeros, of which each says that there is nothing
    with pytest.raises(SourceError, match=said):
        read_layout(path)


def test_a_long_text_is_passed_over(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_string("general.description", "x" * 1_000_000)
    writer.add_string("general.author", "y")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    fields = read_header(tmp_path / "model.gguf").fields
    assert (fields["general.description"], fields["general.author"]) == ("", "y")


def test_a_number_that_no_model_has_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_windowed(path)
    whole = path.read_bytes()
    key = _sized(b"gemma3.attention.head_count_kv")
    at = whole.index(key) + len(key)
    path.write_bytes(whole[:at] + struct.pack("<Ii", 5, -4) + whole[at + 8 :])
    assert read_layout(path).layers[0].keys > 0


def test_damaged_headers_raise_nothing_else(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf").read_bytes()
    random = np.random.default_rng(3)
    path = tmp_path / "damaged.gguf"
    for _ in range(200):
        damaged = bytearray(whole)
        for at in random.integers(4, 900, 4):
            damaged[at] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            read_layout(path)
        except SourceError as error:
            assert "damaged.gguf" in str(error)  # noqa: PT017 - most, not all, are an error


def test_architectures_that_nothing_runs(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", architecture="warp")
    with pytest.raises(SourceError, match=r"general\.architecture is 'warp'"):
        read_layout(path)
    path = write(tmp_path / "projector.gguf", architecture="clip")
    with pytest.raises(SourceError, match=r"projector\.gguf: general\.architecture is 'clip'"):
        read_layout(path)
    path = write(tmp_path / "blocks.gguf", blocks=None)
    with pytest.raises(SourceError, match=r"llama\.block_count is None"):
        read_layout(path)
    path = write(tmp_path / "tower.gguf", blocks=2000)
    with pytest.raises(SourceError, match=r"block_count is 2000, and no model has more than 1024"):
        read_layout(path)


def test_a_model_in_several_files(tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", parts=2)
    first, second = parts(tmp_path / "model-00001-of-00002.gguf")
    layout = read_layout(first)
    assert layout.layers[0].weights == 4 * 32 * 64 * 4
    with pytest.raises(SourceError, match=r"part 2 of 2; name the first, model-00001-of-00002"):
        read_layout(second)
    second.unlink()
    with pytest.raises(SourceError, match=r"model-00002-of-00002\.gguf is not there"):
        read_layout(first)
    first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(SourceError, match=r"split\.count is 2"):
        read_layout(tmp_path / "renamed.gguf")
