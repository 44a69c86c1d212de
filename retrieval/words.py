"""Text to the words that a keyword search matches, in any language. Pure.

Case, width and accents are folded. A run of a script that is written without spaces (Chinese,
Japanese, Thai, ...) becomes overlapping pairs of characters: whoever asks for a word inside it
finds it by its pairs, without a dictionary.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator

__all__ = ["MEANING", "document_words", "query_words"]

MEANING = 1  # of the words here; an index of another meaning is built anew

_LONGEST = 64  # characters of a word that count: base64 and the like are no words
# Accents of Latin, Greek and Cyrillic letters; the points of Hebrew; the vowel marks of Arabic.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u0652\u0670\u0640]+")
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)


def _marks() -> str:
    """The vowel signs of Indic and other scripts: parts of words that `\\w` does not match."""
    return "".join(
        chr(code)
        for code in range(min(sys.maxunicode, 0xFFFF) + 1)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )


_MARKS = _marks()
_WORD = re.compile(
    rf"(?P<unspaced>[{_UNSPACED}]+)"
    r"|(?P<number>\d+(?:[.,]\d+)+)"
    rf"|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+"
)


def document_words(text: str) -> Iterator[str]:
    """What a passage is found by, in order. Single characters of unspaced scripts are among it."""
    for word, unspaced in _runs(text):
        if unspaced:
            yield from word
            yield from _pairs(word)
        else:
            yield word


def query_words(text: str) -> list[str]:
    """What to look for: each word once, in order."""
    found: dict[str, None] = {}
    for word, unspaced in _runs(text):
        found.update(dict.fromkeys(_pairs(word) if unspaced and len(word) > 1 else [word]))
    return list(found)


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    for found in _WORD.finditer(_folded(text)):
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
    return unicodedata.normalize("NFC", _ACCENTS.sub("", plain))


def _pairs(run: str) -> list[str]:
    return [run[place : place + 2] for place in range(len(run) - 1)]
