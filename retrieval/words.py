"""Text to the words that a keyword search matches, in any language. Pure.

Case, width, accents and the digits of every script are folded. A run of a script that is written
without spaces (Chinese, Japanese, Thai, ...), or whose words take endings without number (Korean),
becomes overlapping pairs of characters: whoever asks for a word inside it finds it by its pairs,
without a dictionary. A code with hyphens is found without them, too: E02 finds E-02. (Not the other
way round: as one more word of a query, codes cost three of WattBot's questions by words.)
"""

import re
import sys
import unicodedata
from collections.abc import Iterator

__all__ = ["MEANING", "document_words", "query_words"]

MEANING = 2  # of the words here; an index of another meaning is built anew

_LONGEST = 64  # characters of a word that count: base64 and the like are no words
# Accents of Latin, Greek and Cyrillic letters; the points of Hebrew; vowel marks, hamzas above and
# below, and the stretching of Arabic; and what is not seen: soft hyphens, joiners of words.
_DROPPED = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u0655\u0670\u0640\u00ad\u2060\ufeff]+"
)
# Letters that are written one for the other and that Unicode does not take apart.
_LETTERS = str.maketrans("ıłøđðħŧىیکة٫٬", "iloddhtييكه.,") | {
    ord(letter): both for letter, both in {"æ": "ae", "œ": "oe", "þ": "th"}.items()
}
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u1100-\u11ff\uac00-\ud7ff"  # Hangul
)


def _marks() -> str:
    """The vowel signs of Indic and other scripts: parts of words that `\\w` does not match."""
    return "".join(
        chr(code)
        for code in range(min(sys.maxunicode, 0xFFFF) + 1)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )


def _digits() -> dict[int, str]:
    """The digits of other scripts, and ours."""
    return {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(0x80, min(sys.maxunicode, 0xFFFF) + 1)
        if unicodedata.category(chr(code)) == "Nd"
    }


_MARKS = _marks()
_DIGITS = _digits()
_WORD = re.compile(
    rf"(?P<unspaced>[{_UNSPACED}]+)"
    r"|(?P<number>\d+(?:[.,]\d+)+)"
    rf"|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+"
)
# E-02, X_1: letters and digits joined by hyphens.
_CODE = re.compile(r"(?<![^\W_])[^\W_]++(?:[\-_\u2010][^\W_]++)+")
_JOINTS = re.compile(r"[\-_\u2010]")


def document_words(text: str) -> Iterator[str]:
    """What a passage is found by. Single characters of unspaced scripts are among it."""
    text = _folded(text)
    yield from _codes(text)
    for word, unspaced in _runs(text):
        if unspaced:
            yield from word
            yield from _pairs(word)
        else:
            yield word


def query_words(text: str) -> list[str]:
    """What to look for: each word once."""
    found: dict[str, None] = {}
    for word, unspaced in _runs(_folded(text)):
        found.update(dict.fromkeys(_pairs(word) if unspaced and len(word) > 1 else [word]))
    return list(found)


def _codes(text: str) -> Iterator[str]:
    """Codes with hyphens, without these."""
    for found in _CODE.finditer(text):
        code = _JOINTS.sub("", found[0])
        if not code.isalpha() and not code.isdecimal():
            yield code[:_LONGEST]


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    for found in _WORD.finditer(text):
        word = found[0]
        if found["unspaced"]:
            yield word, True
        else:
            # 1,234 and 1234 are one number; so are 4.3 and 4,3 to no harm.
            yield (word.replace(",", "") if found["number"] else word)[:_LONGEST], False


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    plain = unicodedata.normalize("NFC", _DROPPED.sub("", plain))
    return plain.translate(_LETTERS).translate(_DIGITS)


def _pairs(run: str) -> list[str]:
    return [run[place : place + 2] for place in range(len(run) - 1)]
