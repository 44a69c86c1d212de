import codecs
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.document import Document
from retrieval.errors import FileRejected, RetrievalError
from retrieval.formats.read import read_document
from retrieval.parse import clean_filename, parse
from retrieval.parser_messages import Limits
from retrieval.parser_pool import ParserPool
from tests.unit.retrieval import sample_files as sample

FRENCH = "Le café est déjà fermé. Réinitialisez le routeur après dix secondes.\n"
RUSSIAN = "Перезагрузите маршрутизатор и подождите десять секунд. Потом проверьте соединение."
TURKISH = "Bu kılavuz şirketin yıllık izin kurallarını açıklar. Siparişiniz üç iş günü içinde."
POLISH = "Proszę złożyć wniosek do końca miesiąca. Cena książki wynosi trzydzieści złotych."
CZECH = "Příručka popisuje pravidla dovolené. Prosíme, odešlete žádost do konce měsíce."
GREEK = "Το εγχειρίδιο περιγράφει τους κανόνες αδείας."
ARABIC = "يصف الدليل قواعد الإجازة. يمكن للموظف أخذ عشرين يوما في السنة."
THAI = "คู่มือนี้อธิบายกฎการลาหยุด พนักงานสามารถลาได้ยี่สิบวันต่อปี"
KOREAN = "이 안내서는 휴가 규칙을 설명합니다."
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
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp866"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc-jp"),
        (JAPANESE, "iso2022_jp"),
        (KOREAN, "cp949"),
        ("本手册说明休假规则。员工每年可以休二十天。", "gb18030"),
        (TURKISH, "cp1254"),
        (TURKISH, "iso8859-9"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (CZECH, "cp1250"),
        (CZECH, "iso8859-2"),
        (GREEK, "cp1253"),
        (ARABIC, "cp1256"),
        (THAI, "cp874"),
        ("It’s a rule: don’t open “valves” • 5 £", "cp1252"),
        ("plain words " * 20_000 + TURKISH, "cp1254"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
    ],
)
def test_encodings(text: str, codec: str) -> None:
    assert read_document(text.encode(codec), "a.txt").text == text


def test_big_endian_mark() -> None:
    data = codecs.BOM_UTF16_BE + FRENCH.encode("utf-16-be")
    assert read_document(data, "a.md").text == FRENCH


@pytest.mark.parametrize("data", [b"hello\0world\0", b"abc\0defgh\0" * 100])
def test_ascii_with_nuls_is_not_taken_for_chinese(data: bytes) -> None:
    with pytest.raises(FileRejected, match="NUL"):
        read_document(data, "a.txt")


def test_a_damaged_byte_does_not_garble_the_rest() -> None:
    data = (RUSSIAN + "?").encode()[:-1] + b"\xff"
    assert read_document(data, "a.txt").text == RUSSIAN + "\ufffd"


def test_newlines_and_control_characters() -> None:
    assert read_document(b"a\r\nb\rc\n\x1b[1md\te", "a.txt").text == "a\nb\nc\n [1md\te"


def test_form_feeds_are_page_breaks() -> None:
    document = read_document(b"one\ftwo\n\f\fthree", "a.txt")
    assert document.text == "one\n\ntwo\n\n\n\n\nthree"
    assert [document.text[at:].split("\n")[0] for at in document.page_starts] == [
        "one",
        "two",
        "",
        "three",
    ]
    assert read_document(b"one", "a.txt").page_starts == ()


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.md", "empty"),
        (b" \n\t\f ", "a.md", "no text"),
        (codecs.BOM_UTF8, "a.md", "no text"),
        (b"text\0more text", "a.txt", "NUL"),
        (bytes(range(256)) * 20, "a.txt", "NUL"),
        (bytes(range(1, 32)) * 20, "a.exe", "control characters"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a", "a.txt", "not valid UTF-16"),
        (codecs.BOM_UTF8 + b"\xff\xfe", "a.txt", "not valid UTF-8"),
        (b"%PDF-1.7\n...", "a.txt", "PDF is damaged"),
        (sample.pdf(["One.", "Two."])[:300], "a.pdf", "PDF is damaged"),
        (sample.pdf(["", ""]), "a.pdf", "OCR"),
        (sample.ENCRYPTED_PDF, "a.pdf", "encrypted"),
        (sample.ole("EncryptedPackage"), "a.docx", "encrypted"),
        (sample.ole("WordDocument"), "a.doc", "old binary Office"),
        (sample.docx("<w:p/>")[:200], "a.docx", "truncated"),
        (sample.docx(" " * 40_000_000), "a.docx", "ZIP bomb"),
        (sample.docx("&bomb;", before="<!DOCTYPE a [<!ENTITY bomb 'x'>]>"), "a.docx", "entities"),
        (sample.archive({"a.txt": "x"}), "a.docx", "unpack it"),
        (
            sample.archive({"xl/workbook.xml": "", **{f"{n}.xml": "" for n in range(10_000)}}),
            "a.xlsx",
            "has 10001 parts",
        ),
        (sample.archive({"mimetype": "x"}), "a.epub", "EPUB"),
        (b"\x89PNG\r\n\x1a\n", "a.txt", "image"),
        (b"[" * 100_000, "a.json", "nested too deeply"),
    ],
)
def test_refused_with_the_reason(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        read_document(data, name)


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


TEXT_NAMES = ["a.txt", "a.md", "a.csv", "a.json", "a.jsonl", "a.html", "a.eml", "a.py", "a"]


@given(st.binary(max_size=300), st.sampled_from(TEXT_NAMES))
def test_any_bytes_are_text_or_refused(data: bytes, name: str) -> None:
    try:
        document = read_document(data, name)
    except FileRejected:
        return
    check_text(document)


@given(
    st.text(alphabet=st.characters() | st.sampled_from('{}[]",:<>/|\n;#-td tr'), max_size=200),
    st.sampled_from(TEXT_NAMES),
)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        document = read_document(text.encode("utf-8", "replace"), name)
    except FileRejected:
        return
    check_text(document)


def check_text(document: Document) -> None:
    document.text.encode()
    assert not set(document.text) & {"\0", "\r", "\f"}
    assert all(0 <= start <= len(document.text) for start in document.page_starts)


# In a process of its own


async def test_a_file_is_read_by_its_bytes_and_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a file.bin"
    path.write_bytes(sample.pdf(["One page.", "Another page."]))
    for given_file in (path, path.read_bytes()):
        document = await parse(given_file, "a.pdf")
        assert document.text == "One page.\n\nAnother page."
        assert document.page_starts == (0, 11)


async def test_half_of_a_surrogate_pair_is_replaced() -> None:
    document = await parse("Größe \ud83d hier".encode("utf-8", "surrogatepass"), "a.txt")
    assert document.text == "Größe ? hier"


async def test_what_is_refused_is_named() -> None:
    with pytest.raises(FileRejected, match=r"^a\.pdf: the file is empty"):
        await parse(b"", "a.pdf")
    with pytest.raises(FileRejected, match=r"^gone\.txt: .*FileNotFoundError"):
        await parse(Path("/nonexistent/gone.txt"), "gone.txt")


@pytest.mark.parametrize(
    ("limits", "data", "name", "reason"),
    [
        (Limits(seconds=0.3), sample.SLOW_MAIL, "a.eml", "longer than 0.3 s"),
        (
            Limits(memory_bytes=128 * 1024 * 1024),
            b"word " * 12_000_000,
            "a.txt",
            "more than 128 MB",
        ),
        (Limits(characters=100), b"x" * 101, "a.txt", "101 characters"),
    ],
    ids=["time", "memory", "output"],
)
def test_a_hostile_file_ends_itself_and_nothing_else(
    limits: Limits, data: bytes, name: str, reason: str
) -> None:
    pool = ParserPool(1, limits)
    try:
        with pytest.raises(FileRejected, match=reason):
            pool.submit(data, name).result(60)
        assert pool.submit(b"fine", "b.txt").result(60).text == "fine"
    finally:
        pool.close()


def test_a_parser_that_is_killed_is_replaced_and_leaves_nothing(tmp_path: Path) -> None:
    fifo = tmp_path / "file.txt"
    os.mkfifo(fifo)
    pool = ParserPool(1)
    try:
        reading = pool.submit(fifo, "file.txt")
        with fifo.open("wb"):  # returns when the parser has opened the other end
            (process,) = pool.processes()
            assert os.getsid(process) == process, "it shares our session"
            os.kill(process, signal.SIGKILL)
            with pytest.raises(FileRejected, match="SIGKILL"):
                reading.result(60)
        assert pool.submit(b"fine", "b.txt").result(60).text == "fine"
        assert pool.processes() != [process]
    finally:
        pool.close()
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_closed_pool_ends_what_it_was_doing(tmp_path: Path) -> None:
    fifo = tmp_path / "file.txt"
    os.mkfifo(fifo)
    pool = ParserPool(1)
    reading = pool.submit(fifo, "file.txt")
    waiting = pool.submit(b"fine", "b.txt")
    with fifo.open("wb"):
        pool.close()
    for future in (reading, waiting):
        with pytest.raises(RetrievalError, match="closed"):
            future.result(60)
    with pytest.raises(RetrievalError, match="closed"):
        pool.submit(b"fine", "b.txt")


def test_one_parser_is_enough_for_one_file_after_the_other() -> None:
    pool = ParserPool(2)
    try:
        pool.prepare()
        for _ in range(3):
            assert pool.submit(b"plain", "a.txt").result(60).text == "plain"
        assert len(pool.processes()) == 1
    finally:
        pool.close()
