"""A vocabulary read all at once is the one that llama.cpp spells token by token.

Run by test_vocabulary.py, in a process of its own.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import llguidance.llamacpp as reference
import pytest

from models.errors import LoadFailed
from models.sources import resolve
from models.worker import vocabulary
from models.worker.llama_loading import llama_cpp
from tests.real_models import gemma3_270m, smollm2_path

Kind = gguf.TokenType
MARKS: dict[str, int] = {
    "<|im_start|>": Kind.CONTROL,
    "<|im_end|>": Kind.CONTROL,
    "<tool_call>": Kind.USER_DEFINED,
    "added words": Kind.USER_DEFINED,
    "<|endoftext|>": Kind.NORMAL,  # llama.cpp makes a control token of it
    "unk>": Kind.UNKNOWN,
}
# Every byte as byte-level vocabularies write it: printable ones as themselves.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
LETTERS = [chr(byte) for byte in PRINTABLE] + [chr(256 + at) for at in range(len(OTHERS))]
SPACE = LETTERS[len(PRINTABLE) + OTHERS.index(32)]


@contextmanager
def opened(path: Path) -> Generator[Any]:
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model
    try:
        yield llama_cpp.llama_model_get_vocab(model)
    finally:
        llama_cpp.llama_model_free(model)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What llguidance was given, instead of making tables of it."""
    calls: list[dict[str, Any]] = []

    class Listening:
        @staticmethod
        def from_llamacpp(**options: Any) -> None:
            calls.append(options)

    monkeypatch.setattr("llguidance.LLTokenizer", Listening)
    monkeypatch.setattr(reference, "LLTokenizer", Listening)
    # The same function by its former name, which warns at each of its calls.
    monkeypatch.setattr(llama_cpp, "llama_token_get_attr", llama_cpp.llama_vocab_get_attr)
    return calls


def assert_the_same(vocab: Any, given: list[dict[str, Any]]) -> vocabulary.Vocabulary:
    known = vocabulary.read_vocabulary(vocab)
    tokens = range(llama_cpp.llama_vocab_n_tokens(vocab))
    attribute, is_end = llama_cpp.llama_vocab_get_attr, llama_cpp.llama_vocab_is_eog
    kinds = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
    assert known.ends == {token for token in tokens if is_end(vocab, token)}
    assert known.controls == {token for token in tokens if attribute(vocab, token) & kinds}
    vocabulary.grammar_tokenizer(vocab, known, [2])
    reference.lltokenizer_from_vocab(vocab, eos_token=[2])
    ours, theirs = given
    assert ours == theirs
    marked = [token.startswith(b"\xff") and len(token) > 1 for token in theirs["tokens"]]
    # llguidance's tokens are the pieces, but for its sign before special ones.
    assert known.pieces == [
        token[1:] if special else token
        for token, special in zip(theirs["tokens"], marked, strict=True)
    ]
    return known


def test_a_byte_level_vocabulary(given: list[dict[str, Any]]) -> None:
    with opened(smollm2_path()) as vocab:
        known = assert_the_same(vocab, given)
    assert known.pieces[known.pieces.index(b"<|im_end|>")] == b"<|im_end|>"
    assert b" the" in known.pieces


def test_a_vocabulary_of_sentencepiece(given: list[dict[str, Any]]) -> None:
    with opened(resolve(gemma3_270m().source, Path())) as vocab:
        known = assert_the_same(vocab, given)
    assert len(known.pieces) == 262_144
    assert b"\xff" in known.pieces
    assert " größer".encode() in known.pieces


def write_vocabulary(
    path: Path, words: list[str], model: str = "gpt2", *, pre: str = "smollm", begin: int | None = 0
) -> None:
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(64)
    out.add_embedding_length(64)
    out.add_block_count(1)
    out.add_head_count(1)
    out.add_feed_forward_length(64)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_tokenizer_model(model)
    if model != "no_vocab":
        out.add_tokenizer_pre(pre)
        out.add_token_list([*MARKS, *words])
        out.add_token_types([*MARKS.values(), *[Kind.NORMAL] * len(words)])
        out.add_token_merges(["x y"])
        if begin is not None:
            out.add_bos_token_id(begin)
        out.add_eos_token_id(1)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that were asked for one at a time."""
    tokens: list[int] = []
    piece: Callable[..., bytes] = vocabulary._piece  # pyright: ignore[reportPrivateUsage]

    def counted(vocab: Any, token: int, *, special: bool) -> bytes:
        tokens.append(token)
        return piece(vocab, token, special=special)

    monkeypatch.setattr(vocabulary, "_piece", counted)
    return tokens


def test_a_few_calls_are_enough(
    tmp_path: Path, given: list[dict[str, Any]], asked: list[int]
) -> None:
    write_vocabulary(tmp_path / "v.gguf", [*LETTERS, "", f"{SPACE}word"])
    with opened(tmp_path / "v.gguf") as vocab:
        known = assert_the_same(vocab, given)
    assert asked == [0]
    assert {known.pieces[token] for token in known.controls} == {
        *(b"<|im_start|>", b"<|im_end|>", b"<|endoftext|>", b"unk>")
    }


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([*LETTERS, "a<|im_start|>b"], {}),  # the separator, in another token
        ([*LETTERS, f"{SPACE}."], {"pre": "gpt-2"}),  # llama.cpp would take the space out
        ([*LETTERS, "aÿ"], {"begin": len(MARKS) + LETTERS.index("a")}),
        (LETTERS, {"begin": len(MARKS) + len(PRINTABLE) + OTHERS.index(32)}),
        (["a", "b", f"{SPACE}c"], {"begin": None}),  # and no byte that could stand between
    ],
    ids=["within", "cleaned", "letter", "space", "none"],
)
def test_what_cannot_be_read_at_once_is_read_one_by_one(
    words: list[str],
    options: dict[str, Any],
    tmp_path: Path,
    given: list[dict[str, Any]],
    asked: list[int],
) -> None:
    write_vocabulary(tmp_path / "v.gguf", words, **options)
    with opened(tmp_path / "v.gguf") as vocab:
        assert_the_same(vocab, given)
    assert len(asked) >= len(words)


def test_a_file_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "v.gguf", [], model="no_vocab")
    with opened(tmp_path / "v.gguf") as vocab, pytest.raises(LoadFailed, match="no vocabulary"):
        vocabulary.read_vocabulary(vocab)
