import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import FileRejected
from retrieval.parse import clean_filename, parse

FRENCH = "Le café est déjà fermé. Réinitialisez le routeur après dix secondes.\n"
RUSSIAN = "Перезагрузите маршрутизатор и подождите десять секунд. Потом проверьте соединение."
JAPANESE = "ルーターを再起動して、十秒待ってください。その後、接続を確認します。"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (FRENCH, "utf-8"),
        (FRENCH, "utf-8-sig"),
        (FRENCH, "latin-1"),
        ("Größe “fünf” — 3 €", "cp1252"),
        ("Café", "latin-1"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "cp932"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
    ],
)
def test_encodings(text: str, codec: str) -> None:
    assert parse(text.encode(codec), "a.txt").text == text


def test_big_endian_mark() -> None:
    assert parse(codecs.BOM_UTF16_BE + FRENCH.encode("utf-16-be"), "a.md").text == FRENCH


def test_a_damaged_byte_does_not_garble_the_rest() -> None:
    data = (RUSSIAN + "?").encode()[:-1] + b"\xff"
    assert parse(data, "a.txt").text == RUSSIAN + "\ufffd"


def test_newlines_and_control_characters() -> None:
    assert parse(b"a\r\nb\rc\n\x1b[1md\te", "a.txt").text == "a\nb\nc\n [1md\te"


def test_form_feeds_are_page_breaks() -> None:
    document = parse(b"one\ftwo\n\f\fthree", "a.txt")
    assert document.text == "one\n\ntwo\n\n\n\n\nthree"
    assert [document.text[at:].split("\n")[0] for at in document.page_starts] == [
        "one",
        "two",
        "",
        "three",
    ]
    assert parse(b"one", "a.txt").page_starts == ()


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.md", "empty"),
        (b" \n\t\f ", "a.md", "no text"),
        (codecs.BOM_UTF8, "a.md", "no text"),
        (b"text\0more text", "a.txt", "NUL"),
        (bytes(range(256)) * 20, "a.txt", "NUL"),
        (bytes(range(1, 32)) * 20, "a.txt", "control characters"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a", "a.txt", "not valid UTF-16"),
        (codecs.BOM_UTF8 + b"\xff\xfe", "a.txt", "not valid UTF-8"),
        (b"%PDF-1.7\n...", "a.txt", "PDF"),
        (b"x", "a.exe", ".markdown, .md, .txt"),
        (b"x", "noextension", "no extension"),
    ],
)
def test_refused_with_the_reason(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason) as caught:
        parse(data, name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\docs\\a.md", "a.md"),
        ("a\0\n\x1b.md", "a.md"),
        ("gpj\u202e.md", "gpj.md"),
        ("café.md", "café.md"),
        ("\ud800a.md", "a.md"),
    ],
)
def test_names_are_base_names(given_name: str, clean: str) -> None:
    assert clean_filename(given_name) == clean


@pytest.mark.parametrize("name", ["", "..", "a/..", "/", "\n", "dir/"])
def test_names_of_which_nothing_is_left(name: str) -> None:
    with pytest.raises(FileRejected):
        clean_filename(name)


@given(st.text(alphabet=st.characters(), max_size=400))
def test_any_name_is_safe_or_refused(name: str) -> None:
    try:
        clean = clean_filename(name)
    except FileRejected:
        return
    assert "/" not in clean
    assert "\\" not in clean
    assert clean.isprintable() or not any(ord(char) < 32 for char in clean)
    assert len(clean.encode()) <= 255


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.md"]))
def test_any_bytes_are_text_or_refused(data: bytes, name: str) -> None:
    try:
        document = parse(data, name)
    except FileRejected:
        return
    document.text.encode()
    assert "\0" not in document.text
    assert "\r" not in document.text
