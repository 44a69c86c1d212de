"""What of the passages could answer a question: sentences, rows and whole lists. Pure."""

import re
from collections.abc import Sequence

from gateway.ensemble.evidence import CODE, WORD, Candidate, Text, names_missing
from gateway.ensemble.ground import sentences
from gateway.ensemble.text import cells, named_row, one_line

__all__ = ["candidates"]

PATH_SEPARATOR = " > "  # between the headings above a passage
HEAD_ROW = re.compile(r"\s*\|[ \t]*:?-{3,}")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
ITEM = re.compile(r"(?:[-+*•]|\d{1,3}[.)])[ \t]")
CLOSING = r"[\"'”’»)\]*_]*$"
ASKS = re.compile(rf"[?？؟;]{CLOSING}")
INTRODUCES = re.compile(rf"[:：︰﹕፥፦]{CLOSING}")
ANSWER_MARK = re.compile(r"^(?:A|Answer|Antwort|Réponse|Respuesta|Risposta|Resposta)\s?[:：] ?")
# Words to whoever reads for the user, which state nothing. Members are told not to follow what
# passages say; so small a one would still quote it.
COMMANDS = re.compile(
    r"(?<!not )\b(?:ignore|disregard|forget) (?:(?:all|any|everything|what|is|the|these|your) )*"
    r"(?:above|previous|prior|earlier|preceding|instructions?)\b"
    r"|\b(?:print|reveal|show|repeat|output) (?:the |your )?(?:system prompt|instructions)\b"
    r"|\byou are now in\b.{0,30}\bmode\b"
    r"|\b(?:ignorier\w*|vergiss|vergessen sie) (?:alle |die )*(?:obig|vorherig|anweisung)"
    r"|\b(?:ignor\w+|oubli\w+|olvid\w+|dimentica\w*|esque\w+) (?:\w+ ){1,3}"
    r"(?:précédent|anterior|precedent)",
    re.IGNORECASE,
)
LIST_CHARS = 1200  # a longer list is no answer as a whole


def candidates(question: str, passages: Sequence[Text]) -> list[Candidate]:
    """Every sentence, row and list that could answer the question, in order.

    Headings and the head rows of tables are not among them: they name things, and say nothing of
    them. Nor are the documents' own questions, nor the lines that introduce lists; they and what
    else ends in a colon are read as headings of what follows. Nor are sentences of a passage
    without a name that the question asks about ("R-77"), those that speak of another of its kind
    ("R-23"), and commands to whoever reads ("ignore the above").
    """
    found: list[Candidate] = []
    for passage in passages:
        if not names_missing(question, f"{passage.document} {passage.heading} {passage.text}"):
            found += _of(passage)
    codes = _codes(question)
    shapes = {_shape(code) for code in codes}

    def is_of_another(one: Candidate) -> bool:
        named = _codes(one.text)
        return any(_shape(code) in shapes for code in named) and not codes & (
            named | _codes(one.heading)
        )

    return [one for one in found if not is_of_another(one)] or found if shapes else found


def _of(passage: Text) -> list[Candidate]:
    found: list[Candidate] = []
    text, spans = passage.text, sentences(passage.text)
    heading, heads = _taken_apart(passage)
    commanding = COMMANDS.search(text) is not None
    under, until = "", -1  # a line that what follows belongs to, and the place of the last of it
    for at, (start, end) in enumerate(spans):
        raw = text[start:end]
        under = under if at <= until else ""
        above = f"{heading}\n{under}" if heading and under else heading or under
        if commanding and COMMANDS.search(raw):
            continue
        if HEAD_ROW.match(text, end):
            heads = cells(raw)
            continue
        heads = heads if raw.startswith("|") else []
        if _is_heading(raw):
            if any(map(str.isalnum, raw)) and one_line(raw) not in heading:
                heading, until = one_line(raw), -1
        elif heads:
            row = named_row(heads, cells(raw))
            found.append(Candidate(passage.n, start, end, row, above, heads=tuple(heads)))
        elif at + 1 < len(spans) and ASKS.search(raw):
            under, until = one_line(raw), _paragraph(text, spans, at)
        elif at + 1 < len(spans) and INTRODUCES.search(raw):
            items = _items(text, spans, at)
            under, until = one_line(raw), _paragraph(text, spans, at)
            if len(items) > 1:
                until = items[-1][-1]
                if listed := _list(passage, spans, at, items, heading):
                    found.append(listed)
            else:
                found.append(Candidate(passage.n, start, end, under, heading))
        else:
            said = ANSWER_MARK.sub("", one_line(raw)) if under else one_line(raw)
            found.append(Candidate(passage.n, start, end, said, above))
    return found


def _list(
    passage: Text,
    spans: Sequence[tuple[int, int]],
    at: int,
    items: Sequence[Sequence[int]],
    heading: str,
) -> Candidate | None:
    """A list with the line `at` that introduces it; None where it is too long."""
    start, end = spans[at][0], spans[items[-1][-1]][1]
    if end - start > LIST_CHARS:
        return None
    intro = one_line(passage.text[slice(*spans[at])])
    texts = [one_line(passage.text[spans[one[0]][0] : spans[one[-1]][1]]) for one in items]
    whole = f"{intro} {'; '.join(one.rstrip('.;,') for one in texts)}"
    return Candidate(passage.n, start, end, whole, heading, intro=intro, items=tuple(texts))


def _items(text: str, spans: Sequence[tuple[int, int]], at: int) -> list[list[int]]:
    """The places of the sentences of each item of the list that follows the line `at`."""
    items: list[list[int]] = []
    marks: set[bool] = set()  # whether they are numbers: a list has either, or it is two
    for place in range(at + 1, len(spans)):
        if mark := ITEM.match(text, spans[place][0]):
            marks.add(mark.group()[0].isdigit())
            if len(marks) > 1:
                break
            items.append([place])
        elif items and not BLANK_LINE.search(text, spans[place - 1][1], spans[place][0]):
            items[-1].append(place)
        else:
            break
    return items


def _paragraph(text: str, spans: Sequence[tuple[int, int]], at: int) -> int:
    """The place of the last sentence of the paragraph that follows the line `at`."""
    last = at + 1
    while last + 1 < len(spans) and not BLANK_LINE.search(text, spans[last][1], spans[last + 1][0]):
        last += 1
    return last


def _taken_apart(passage: Text) -> tuple[str, list[str]]:
    """The headings, and the head row of the table that the passage goes on with."""
    above, _, last = passage.heading.rpartition(PATH_SEPARATOR)
    if passage.text.startswith("|") and "|" in last:
        return above, cells(last)
    return passage.heading, []


def _is_heading(sentence: str) -> bool:
    if not any(map(str.isalnum, sentence)):
        return True  # a ruled line
    if sentence.startswith("|"):
        return False
    capitals = sentence.isupper() and len(sentence.split()) > 1
    return capitals or sentence.startswith("#")


def _codes(text: str) -> set[str]:
    return {word for word in WORD.findall(text) if CODE.fullmatch(word)}


def _shape(code: str) -> str:
    """What codes of one kind have in common: "A-00" of "R-23", and of "P-30"."""
    return re.sub(r"\d", "0", re.sub(r"[A-Za-z]", "A", code))
