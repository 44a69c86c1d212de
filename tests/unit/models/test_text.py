import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.worker.text import TextStream


@st.composite
def pieces_of(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> tuple[str, list[bytes]]:
    """A text and its bytes cut anywhere, empty pieces too."""
    text = draw(texts)
    raw = text.encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    edges = [0, *cuts, len(raw)]
    return text, [raw[a:b] for a, b in itertools.pairwise(edges)]


def push(stream: TextStream, piece: bytes) -> str:
    return stream.take(stream.decode(piece))


def flush(stream: TextStream) -> str:
    return stream.take(stream.decode(b"", final=True)) + stream.flush()


def run(stream: TextStream, pieces: list[bytes]) -> str:
    return "".join(push(stream, piece) for piece in pieces) + flush(stream)


unicode_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# A small alphabet, so that stop strings do occur, overlap and nearly occur.
tight_texts = st.text("abé", max_size=24)
stops = st.text("abé", min_size=1, max_size=4)


@given(pieces_of(unicode_texts))
def test_any_cut_gives_the_same_text(cut: tuple[str, list[bytes]]) -> None:
    text, pieces = cut
    assert run(TextStream(), pieces) == text
    assert run(TextStream(("\x00never\x00",)), pieces) == text.split("\x00never\x00")[0]


@given(pieces_of(unicode_texts))
def test_every_piece_of_text_is_whole_characters(cut: tuple[str, list[bytes]]) -> None:
    text, pieces = cut
    stream = TextStream()
    seen = ""
    for piece in pieces:
        seen += push(stream, piece)
        assert text.startswith(seen)


@given(pieces_of(tight_texts), stops)
def test_text_ends_before_the_stop_string(cut: tuple[str, list[bytes]], stop: str) -> None:
    text, pieces = cut
    stream = TextStream((stop,))
    assert run(stream, pieces) == text.split(stop)[0]
    assert stream.stopped == (stop in text)


@example(("aba", [b"aba"]), ["aba", "b"])
@settings(max_examples=300)
@given(pieces_of(tight_texts), st.lists(stops, min_size=2, max_size=3))
def test_where_it_stops_does_not_depend_on_the_cut(
    cut: tuple[str, list[bytes]], several: list[str]
) -> None:
    text, pieces = cut
    letters = [letter.encode() for letter in text]
    assert run(TextStream(tuple(several)), pieces) == run(TextStream(tuple(several)), letters)


@given(pieces_of(tight_texts), stops)
def test_nothing_follows_the_stop_string(cut: tuple[str, list[bytes]], stop: str) -> None:
    stream = TextStream((stop,))
    for piece in cut[1]:
        if stream.stopped:
            assert push(stream, piece) == ""
        else:
            push(stream, piece)
    stopped = stream.stopped
    rest = flush(stream)
    assert not (stopped and rest)


@given(pieces_of(tight_texts), stops)
def test_no_more_is_held_back_than_could_begin_the_stop(
    cut: tuple[str, list[bytes]], stop: str
) -> None:
    stream = TextStream((stop,))
    seen, sent = b"", ""
    for piece in cut[1]:
        seen += piece
        sent += push(stream, piece)
        whole = seen.decode(errors="ignore")
        if stream.stopped:
            return
        held = whole[len(sent) :]
        assert stop.startswith(held)
        assert held != stop


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"caf\xc3"], "caf\ufffd"),
        ([b"\xf0\x9f", b"\x98"], "\ufffd"),
        ([b"a\xff", b"b"], "a\ufffdb"),
    ],
)
def test_bytes_that_are_no_character_become_one_that_says_so(
    pieces: list[bytes], text: str
) -> None:
    assert run(TextStream(), pieces) == text


def test_an_unfinished_stop_string_is_text_after_all() -> None:
    stream = TextStream(("###",))
    assert push(stream, b"one ##") == "one "
    assert stream.flush() == "##"


def test_it_counts_what_came_and_what_was_given_out() -> None:
    stream = TextStream(("STOP",))
    assert push(stream, "é".encode()[:1]) == ""
    assert (stream.received, stream.released) == (0, 0)
    assert push(stream, "é".encode()[1:] + b" ST") == "é "
    assert (stream.received, stream.released) == (4, 2)
    assert push(stream, b"OP and more") == ""
    assert (stream.stopped, stream.released) == (True, 2)
