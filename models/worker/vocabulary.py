"""A model's vocabulary, read with a few calls into llama.cpp instead of some for each token.

The largest have 262,144 tokens: at one call each, their pieces alone take Python a second.
"""

import ctypes
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import LoadFailed

# llama_cpp's signatures are ctypes built at run time; to the type checker they are Any.
llama_cpp: Any = importlib.import_module("llama_cpp")
_llguidance: Any = importlib.import_module("llguidance")

__all__ = ["Vocabulary", "grammar_tokenizer", "read_vocabulary"]

# A byte of no UTF-8, so that it is a part of no other token where tokens are whole characters, and
# of no two bytes that another token's and its own could make together.
SEPARATOR = b"\xff"
ROWS = 8192  # tokens that llama.cpp sorts out at once; it takes about 100 bytes for each meanwhile
_ROW = np.dtype(llama_cpp.llama_token_data)


@dataclass(frozen=True)
class Vocabulary:
    """`pieces`: each token's bytes, for a control token those that spell it.

    `ends` end a generation; `controls` are never text (llama.cpp's control and unknown tokens).
    """

    pieces: list[bytes]
    ends: frozenset[int]
    controls: frozenset[int]


def read_vocabulary(vocab: Any) -> Vocabulary:
    """All of a llama_vocab, the same that llama.cpp says of each token.

    Raises LoadFailed where there is none: asked for a token of it, llama.cpp ends the process.
    """
    if llama_cpp.llama_vocab_type(vocab) == llama_cpp.LLAMA_VOCAB_TYPE_NONE:
        raise LoadFailed("The file has no vocabulary (its tokenizer.ggml.model says so).")
    size = int(llama_cpp.llama_vocab_n_tokens(vocab))
    begin = int(llama_cpp.llama_vocab_bos(vocab))
    pieces = None
    if begin >= 0:
        pieces = _spell_all(vocab, size, begin, _piece(vocab, begin, special=True), special=True)
    if pieces is None:
        pieces = [_piece(vocab, token, special=True) for token in range(size)]
    # Without control tokens' spelling the separator has to be another, which is always spelled.
    between = pieces.index(SEPARATOR) if SEPARATOR in pieces else -1
    plain = _spell_all(vocab, size, between, SEPARATOR, special=False) if between >= 0 else None
    unspelled = range(size) if plain is None else [t for t, piece in enumerate(plain) if not piece]
    kinds = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
    attributes = llama_cpp.llama_vocab_get_attr
    return Vocabulary(
        pieces, _ends(vocab, size), frozenset(t for t in unspelled if attributes(vocab, t) & kinds)
    )


def grammar_tokenizer(vocab: Any, known: Vocabulary, eos: list[int]) -> Any:
    """What `llguidance.llamacpp.lltokenizer_from_vocab` makes, which asks for each token twice.

    Raises ValueError where llguidance takes no such vocabulary.
    """
    tokens = known.pieces.copy()
    control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
    added = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    bracketed = {t for t, piece in enumerate(tokens) if piece[:1] == b"<" and piece[-1:] == b">"}
    for token in known.controls | bracketed:
        attributes = llama_cpp.llama_vocab_get_attr(vocab, token)
        if attributes & control or (attributes & added and token in bracketed):
            tokens[token] = b"\xff" + tokens[token]  # llguidance's sign of a special token
    tokenize = ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
    return _llguidance.LLTokenizer.from_llamacpp(
        tokens=tokens, vocab_ptr=vocab, tokenize_fptr=tokenize, eos_token=eos, slices=None
    )


def _spell_all(
    vocab: Any, size: int, separator: int, spelled: bytes, *, special: bool
) -> list[bytes] | None:
    """Each token's piece, from one text of them all with the separator around each.

    None where that text cannot be cut apart again without doubt: the separator is a part of
    another token, or may begin in one; or llama.cpp takes out spaces, as for a few vocabularies.
    """
    if not spelled or any(spelled.startswith(spelled[at:]) for at in range(1, len(spelled))):
        return None
    ids = np.full(2 * size + 1, separator, np.int32)
    ids[1::2] = np.arange(size)
    text = _detokenize(vocab, ids, special=special)
    if text is None:
        return None
    found = text.split(spelled)
    # The separator's own piece is one more of it: two pieces of nothing stand in its place.
    if len(found) != size + 3:
        return None
    found[separator + 1 : separator + 3] = [spelled]
    return found[1:-1]


def _detokenize(vocab: Any, ids: NDArray[np.int32], *, special: bool) -> bytes | None:
    """The tokens' pieces one after the other; None where llama.cpp leaves something out."""
    tokens = ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    size = -int(llama_cpp.llama_detokenize(vocab, tokens, len(ids), None, 0, False, special))
    if size <= 0:
        return None
    text = ctypes.create_string_buffer(size)
    written = llama_cpp.llama_detokenize(vocab, tokens, len(ids), text, size, False, special)
    return text.raw if written == size else None


def _ends(vocab: Any, size: int) -> frozenset[int]:
    """Tokens that end a generation: all that may come where a grammar allows nothing more."""
    rows = np.zeros(size, _ROW)
    rows["id"] = np.arange(size)
    sampler = llama_cpp.llama_sampler_init_grammar(vocab, b'root ::= ""', b"root")
    if not sampler:
        possible = range(size)
    else:
        for start in range(0, size, ROWS):
            part = rows[start : start + ROWS]
            first: Any = part.ctypes.data_as(llama_cpp.llama_token_data_p)
            table = llama_cpp.llama_token_data_array(first, len(part), -1, False)
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(table))
        llama_cpp.llama_sampler_free(sampler)
        possible = np.flatnonzero(np.isfinite(rows["logit"])).tolist()
    return frozenset(t for t in possible if llama_cpp.llama_vocab_is_eog(vocab, t))


def _piece(vocab: Any, token: int, *, special: bool) -> bytes:
    room = 64
    while True:
        text = ctypes.create_string_buffer(room)
        count = llama_cpp.llama_token_to_piece(vocab, token, text, room, 0, special)
        if count >= 0:
            return text.raw[:count]
        room = -count
