"""Whether a value really stands in a passage, and where. Pure."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from gateway.ensemble.months import ORDINAL_MONTHS
from gateway.ensemble.values import (
    FIGURE,
    NUMBER_WORDS,
    UNITS,
    Value,
    close,
    normalise,
    parse_number,
    unit_of,
)

__all__ = ["Evidence", "find", "ground", "sentences"]

# A number keeps its separators ("1,000.5", "192.168.40.1"); "R-23" is two tokens.
TOKEN = re.compile(r"[^\W_]+(?:[.,][^\W_]*\d[^\W_]*)*|[£$€%°]")
GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
SPELLED = {str(number): word for word, number in NUMBER_WORDS.items()}
INITIALS = "".join({word[0] for word in NUMBER_WORDS})
AMOUNT = re.compile(
    rf"(?=[\d.+-]|\b[{INITIALS}])"  # tells at most places at once that there is none
    rf"(?P<number>\b(?:{'|'.join(NUMBER_WORDS)})\b|(?:{FIGURE})(?:\s*(?:thousand|million|billion|trillion|bn)\b|(?-i:[kKMBbT])(?!\w))?)"
    r"\s*(?:°\s*)?(?P<unit>%|°|[^\W\d_]+)?",
    re.IGNORECASE,
)
SKIPPED = {"a", "an", "the", "about", "for", "within", "after", "at", "in", "up", "to", "least"}

BLOCK = re.compile(
    r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]|[ \t]*[|#>])|(?<=\|)[ \t]*\n"
)
HEADING_END = re.compile(r"^[ \t]*#[^\n]*\n", re.MULTILINE)
STOP = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]*_]*\s+(?=[\"'“‘(\[*_]*[^\Wa-z_])|[。！？]")
ORDINAL = re.compile(r"(?<!\w)\d{1,2}\.$")
ORDINAL_MONTH = re.compile(rf"(?:{'|'.join(ORDINAL_MONTHS)})\b")
REMEMBERED = 64  # texts: every vote on a question is looked for in the same few passages
ABBREVIATION = re.compile(
    r"(?:(?i:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|dr|mr|mrs|st))|(?<!\d )\b[A-Z])\.$"
)


class Evidence(Struct, frozen=True, order=True):
    """Where a value stands, and the sentence around it: offsets in code points, ends excluded."""

    start: int
    end: int
    sentence_start: int
    sentence_end: int


class _Tokens(NamedTuple):
    """Of a text, in order: where each stands, and its canonical form."""

    spans: list[tuple[int, int]]
    words: list[str]


class _Amount(Struct, frozen=True):
    start: int
    end: int
    number: Value
    unit: str


def ground(value: str, passage: str, unit: str = "") -> Evidence | None:
    """The first place where the value stands, or None."""
    found = find(value, passage, unit)
    return found[0] if found else None


@lru_cache(maxsize=4 * REMEMBERED)  # votes mostly say the same
def find(value: str, passage: str, unit: str = "") -> tuple[Evidence, ...]:
    """Every place where the value stands: its words in a row, or else its number.

    Case, white space and Markdown between words do not matter; words and numbers are whole.
    """
    wanted = _tokens(value).words
    if not wanted:
        return ()
    spans = _rows(wanted, passage)
    if not spans:
        shorter = wanted
        while len(shorter) > 1 and shorter[0] in SKIPPED:
            shorter = shorter[1:]
        spans = _rows(shorter, passage) if len(shorter) < len(wanted) else []
    known = normalise(value, unit)
    if known.kind == "number" and known.unit and len(wanted) == 1:
        # A bare number with its unit beside it: the words alone do not show the unit.
        spans = _amounts(known, passage)
    elif not spans and known.kind == "number":
        spans = _amounts(known, passage)
    elif not spans and known.kind == "range":
        spans = _ranges(known, _tokens(passage))
    if not spans:
        return ()
    bounds = sentences(passage)
    return tuple(Evidence(start, end, *_enclosing(bounds, start, end)) for start, end in spans)


@lru_cache(maxsize=REMEMBERED)
def sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Sentences in order, without outer white space. Table rows and list items are their own."""
    cuts = {0, len(text)}
    for pattern in (BLOCK, HEADING_END):
        cuts |= {found.end() for found in pattern.finditer(text)}
    for found in STOP.finditer(text):
        before = text[max(0, found.start() - 8) : found.start() + 1]
        ordinal = ORDINAL.search(before) and ORDINAL_MONTH.match(text, found.end())
        if not ordinal and not ABBREVIATION.search(before):
            cuts.add(found.end())
    ordered = sorted(cuts)
    found_spans: list[tuple[int, int]] = []
    for start, end in itertools.pairwise(ordered):
        piece = text[start:end]
        if piece.strip():
            start += len(piece) - len(piece.lstrip())
            found_spans.append((start, start + len(piece.strip())))
    return tuple(found_spans)


@lru_cache(maxsize=REMEMBERED)
def _tokens(text: str) -> _Tokens:
    spans = [found.span() for found in TOKEN.finditer(text)]
    return _Tokens(spans, [_canonical(text[start:end]) for start, end in spans])


@lru_cache(maxsize=20_000)  # documents repeat their numbers
def _number(text: str) -> Value | None:
    return parse_number(text)


@lru_cache(maxsize=20_000)  # and their words
def _canonical(token: str) -> str:
    if GROUPED.fullmatch(token):
        return token.replace(",", "")
    folded = unicodedata.normalize("NFKC", token).casefold()
    return str(NUMBER_WORDS.get(folded, folded))


def _rows(wanted: list[str], text: str) -> list[tuple[int, int]]:
    """Spans of `text` whose words are those wanted, and which cut no number or code in two."""
    if not _may_have(wanted, text):
        return []
    spans, words = _tokens(text)
    found: list[tuple[int, int]] = []
    at = -1
    for _ in range(words.count(wanted[0])):
        at = words.index(wanted[0], at + 1)
        behind = at + len(wanted)
        if words[at:behind] == wanted:
            start, end = spans[at][0], spans[behind - 1][1]
            if _whole(text, start, end):
                found.append((start, end))
    return found


def _may_have(words: Sequence[str], text: str) -> bool:
    """Whether a text may have all of these tokens; far quicker than to cut it into its own."""
    folded = _folded(text)
    return all(
        word.replace(",", "") in folded or (word in SPELLED and SPELLED[word] in folded)
        for word in words
    )


@lru_cache(maxsize=REMEMBERED)
def _folded(text: str) -> str:
    """All that its tokens are made of: also as it is, as marks end tokens but are composed here."""
    plain = text if text.isascii() else f"{text}\n{unicodedata.normalize('NFKC', text)}"
    return plain.casefold().replace(",", "")


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no code goes on past a number at either end: "23" is not in "R-23"."""
    if text[start].isdigit() and re.search(
        r"[^\W_][-/.:]$|[^\W_]['’]$", text[max(0, start - 2) : start]
    ):
        return bool(re.search(r"\d[-/]$", text[max(0, start - 2) : start]))
    if text[end - 1].isdigit():
        after = text[end : end + 2]
        return not re.match(r"[-/.:][^\W_]", after) or bool(re.match(r"[-/]\d", after))
    return True


def _amounts(known: Value, text: str) -> list[tuple[int, int]]:
    """Numbers equal to `known`, unless a unit behind them says otherwise."""
    return [
        (amount.start, amount.end)
        for amount in _all_amounts(text)
        if close(amount.number, known)
        and not (amount.unit and known.unit and amount.unit != known.unit)
    ]


@lru_cache(maxsize=REMEMBERED)
def _all_amounts(text: str) -> tuple[_Amount, ...]:
    """Every number with its unit, where one stands beside it."""
    found: list[_Amount] = []
    for match in AMOUNT.finditer(text):
        number = _number(match["number"])
        start, end = match.span("number")
        if number is None or not _whole(text, start, end):
            continue
        if start and (text[start - 1].isalnum() or text[start - 1] == "."):
            continue
        word = (match["unit"] or "").casefold()
        money = text[start - 1] if start and text[start - 1] in "£$€" else ""
        unit = unit_of(money or (word if word in UNITS else ""))
        found.append(_Amount(start, match.end("unit") if word in UNITS else end, number, unit))
    return tuple(found)


def _ranges(known: Value, there: _Tokens) -> list[tuple[int, int]]:
    spans, words = there
    found: list[tuple[int, int]] = []
    for at, word in enumerate(words):
        if not _equals(word, known.low):
            continue
        for other in range(at + 1, min(at + 5, len(words))):
            if _equals(words[other], known.high):
                found.append((spans[at][0], spans[other][1]))
                break
    return found


def _equals(word: str, number: float) -> bool:
    if not word[0].isnumeric():
        return False
    found = _number(word)
    return found is not None and found.low == number


def _enclosing(bounds: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The sentence, or the sentences, that hold a span."""
    low = max((s for s, _ in bounds if s <= start), default=start)
    high = min((e for _, e in bounds if e >= end), default=end)
    return low, max(high, end)
