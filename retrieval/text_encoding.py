"""Which encoding a text file is in. Certain signs first, guesses last."""

import codecs

from charset_normalizer import from_bytes

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


def decode_text(data: bytes) -> str:
    """The text of `data`. Raises FileRejected for what is not text."""
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return _without_nul(_decode_marked(data, codec, name))
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
    codec = None
    if odd > 0.3 and even < 0.02:
        codec = "utf-16-le"
    elif even > 0.3 and odd < 0.02:
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
    sample = data[:_SAMPLE_BYTES]
    printable = sum(not chr(byte).isspace() for byte in sample)
    high = sum(byte >= 0x80 for byte in sample)
    if high > printable // 4:  # a script of its own, not Latin with accents
        for guess in from_bytes(sample):
            try:
                return data.decode(guess.encoding)
            except UnicodeDecodeError:
                continue  # the sample may have ended inside a character
    # For Latin letters with accents the guesses scatter over look-alikes: take the common one.
    return data.decode("cp1252", "replace")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise _nul_rejection()
    return text


def _nul_rejection() -> FileRejected:
    return FileRejected("the file is binary, not text (it contains NUL bytes)", unsupported=True)
