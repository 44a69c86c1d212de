"""Which encoding a text file is in. Certain signs first, guesses last."""

import codecs
import re

from retrieval.errors import FileRejected

__all__ = ["decode_text"]

# UTF-32's little-endian mark begins with UTF-16's: it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_CONTROL_BYTES = bytes(
    b for b in range(0x20) if b not in (0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x1B)
)
_SAMPLE_BYTES = 64 * 1024
_BEFORE_BYTES = 200  # of plain ASCII: where there is much of it, the guess is for English
_HIGH = re.compile(rb"[\x80-\xff]")
_JAPANESE_MAIL = b"\x1b$"  # ISO 2022 shifts to two-byte letters by this, and has no high bytes
# What files on disks are in. Of the code pages of DOS and of old Macintoshes only the Russian one:
# where so many are possible, short texts are taken for any of them.
_LEGACY = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9"),
    *("iso8859-15", "cp874", "koi8-r", "koi8-u", "cp866", "cp932", "shift_jis_2004"),
    *("euc_jis_2004", "gb18030", "big5hkscs", "cp949", "euc_kr", "johab"),
)
# Letters that are not ASCII, read as if Western: those that are letters there, and what stands for
# one inside a word (mo¿e).
_LETTER = re.compile(
    r"[^\W\d_\x00-\x7f¹²³¼½¾µªº]"
    r"|(?<=[^\W\d_])[^\s\x00-\x7f‘’“”«»…–—·](?=[^\W\d_]|[^\x00-\x7f])"
)
_FEW = 2  # letters: too few to tell a language by


def decode_text(data: bytes) -> str:
    """The text of `data`. Raises FileRejected for what is not text."""
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return _without_nul(_decode_marked(data, codec, name))
    if _JAPANESE_MAIL in data:
        try:
            return data.decode("iso2022_jp_2")
        except UnicodeDecodeError:
            pass
    if b"\0" in data:
        return _without_nul(_decode_unmarked_utf16(data))
    if len(data) - len(data.translate(None, _CONTROL_BYTES)) > len(data) // 50:
        raise FileRejected("the file is binary, not text (control characters)", unsupported=True)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        # Halves of surrogate pairs, which careless programs write.
        return data.decode("utf-8", "surrogatepass").encode("utf-8", "replace").decode()
    except UnicodeDecodeError:
        return _decode_legacy(data)


def _decode_marked(data: bytes, codec: str, name: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise FileRejected(
            f"the file is marked as {name} but is not valid {name} "
            f"(byte {error.start}: {error.reason})"
        ) from None


def _decode_unmarked_utf16(data: bytes) -> str:
    # Mostly-Latin UTF-16 has its NULs in every other byte, and next to none in between.
    sample = data[: _SAMPLE_BYTES & ~1]
    pairs = max(len(sample) // 2, 1)
    even, odd = sample[::2].count(0) / pairs, sample[1::2].count(0) / pairs
    # ASCII with a NUL here and there would make Chinese.
    enough = 0.7 if sample.isascii() else 0.3
    codec = None
    if odd > enough and even < 0.02:
        codec = "utf-16-le"
    elif even > enough and odd < 0.02:
        codec = "utf-16-be"
    if codec is not None:
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            pass
    raise _nul_rejection()


def _decode_legacy(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if len(text) - len(text.encode("ascii", "ignore")) - broken > 10 * broken:
        return text  # UTF-8 with a few damaged bytes; another encoding would garble all the rest
    return data.decode(_guess(_telling(data)), "replace")


def _telling(data: bytes) -> bytes:
    """A part of the file that has letters beyond ASCII, if only far behind."""
    first = _HIGH.search(data)
    start = max(0, first.start() - _BEFORE_BYTES) if first else 0
    return data[start : start + _SAMPLE_BYTES]


def _guess(sample: bytes) -> str:
    from chardet import detect  # only files in old encodings need its models

    western = sample.decode("cp1252", "replace")
    high = sum(not letter.isascii() for letter in western)
    blank = sum(letter.isspace() for letter in western)
    if 4 * high <= len(western) - blank and len(_LETTER.findall(western)) <= _FEW:
        return "cp1252"  # quotation marks, dashes, a word with an accent: the common one
    return detect(sample, include_encodings=_LEGACY, compat_names=False)["encoding"] or "cp1252"


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise _nul_rejection()
    return text


def _nul_rejection() -> FileRejected:
    return FileRejected("the file is binary, not text (it contains NUL bytes)", unsupported=True)
