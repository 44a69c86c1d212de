"""What a member is asked to say, as a constraint on its decoding, and how it is read back. Pure."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.ensemble.values import NUMBER_WORDS

__all__ = [
    "AnswerError",
    "Ending",
    "MemberAnswer",
    "Order",
    "closed",
    "encode",
    "ending",
    "extractive_grammar",
    "json_schema",
    "parse",
    "parse_free",
    "spans_of",
]

Order = Literal["value_first", "explanation_first"]

MAX_VALUE_CHARS = 200
MAX_UNIT_CHARS = 40
MAX_CITED = 3
# A number and up to three words behind it: "7 pounds a month". Words for numbers stand in where
# no passage has a digit; else "one of them" would be an amount.
DIGITS_FIRST = r"FIGURE: /\p{Sc}?[0-9][^ ]*( [^ ]+){0,3}/"
WORD_FIRST = rf"FIGURE: /(?i:{'|'.join(NUMBER_WORDS)})([^\p{{L}} ][^ ]*)?( [^ ]+){{0,3}}/"
BARRED = "¦"  # stands for a word that no value may contain
START = r"[\p{L}\p{N}\p{Sc}]"

# Pieces that a span may begin and end between. Numbers, codes and addresses stay whole.
PIECE = re.compile(r"[^\W_](?:[\w.,:/'’°+@&%-]*[\w°%+])?|\s+|[^\w\s]|_")
# What a span may not contain: it would need escapes, or it is Markdown's and not the text's.
UNSPEAKABLE = re.compile(r"[\"\\`*|¦\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]|\ufeff|[\ud800-\udfff]")
BLANKS = re.compile(r"[ \t]+")
# The point of "3.5", cut behind it or not, ends none.
SENTENCES = re.compile(r".*(?:[.!?…](?=\s)|(?<!\d)[.!?…]$|[。！？])", re.DOTALL)
HALF_ESCAPE = re.compile(r"(?<!\\)(\\\\)*(?P<half>\\(u[0-9a-fA-F]{0,3})?)$")
HALF_FIELD = re.compile(r',("[a-z_]*("\s*:?)?)?\s*$')
LINE_MARKER = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|[-+*][ \t]+|>[ \t]?|\|?[ \t]*:?-{3,}.*$)", re.MULTILINE
)


class AnswerError(ValueError):
    """A member's output is not an answer; the message says why."""


class MemberAnswer(Struct, frozen=True, kw_only=True):
    """One member's answer. `passages` are the numbers it cites, in its order, each once."""

    answer_value: str
    answer_unit: str = ""
    passages: tuple[int, ...] = ()
    is_blank: bool = False
    answer: str = ""
    explanation: str = ""


class Ending(Struct, frozen=True):
    """Where a member's text may end: before `stop`. A vote has no use for what would follow, or
    knows it; with `rest` behind it, the text is a whole answer."""

    stop: str
    rest: str

    def completed(self, text: str) -> str:
        """The text with its rest, unless it went on by itself."""
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return text + self.rest
        return text


def ending(
    passages: Sequence[int], *, extractive: bool, order: Order = "value_first"
) -> Ending | None:
    """Where an answer from `passages` may end, if before its end.

    An extracted value ends at its quotation mark, and of one passage the number is known. An
    explanation that comes last is read by nobody.
    """
    if extractive:
        known = f'","passages":[{passages[0]}]}}' if len(passages) == 1 else None
        return Ending('",', known) if known else None
    return Ending('","explanation":', '","explanation":""}') if order == "value_first" else None


def json_schema(
    passages: Sequence[int], max_answer_chars: int = 400, order: Order = "value_first"
) -> str:
    """The JSON schema of an answer that may cite `passages`. Every text in it is bounded.

    Models write the fields in the schema's order: what comes first is decided before the rest.
    """

    def text(limit: int) -> dict[str, object]:
        return {"type": "string", "maxLength": limit}

    properties: dict[str, object] = {
        "answer_value": text(MAX_VALUE_CHARS),
        "answer_unit": text(MAX_UNIT_CHARS),
        "passages": {
            "type": "array",
            "items": {"enum": list(passages)},
            "minItems": 1,
            "maxItems": min(MAX_CITED, len(passages)),
        },
        "is_blank": {"type": "boolean"},
        "answer": text(max_answer_chars),
        "explanation": text(max_answer_chars),
    }
    schema = {
        "type": "object",
        "properties": {name: properties[name] for name in _fields(order)},
        "required": list(_fields(order)),
        "additionalProperties": False,
    }
    return json.dumps(schema, separators=(",", ":"))


def _fields(order: Order) -> Sequence[str]:
    names = MemberAnswer.__struct_fields__
    return names if order == "value_first" else (names[-1], *names[:-1])


def extractive_grammar(
    passages: Sequence[tuple[int, str]],
    max_value_words: int = 12,
    *,
    figure: bool = False,
    barred: Callable[[str], bool] = lambda word: False,
    idle: Callable[[str], bool] = lambda word: False,
) -> str:
    """A grammar (llguidance's Lark) in which the value is words of one of the passages.

    `passages` are numbers and texts. With `figure` the value begins with a number. `barred` words
    are in no value, `idle` ones not at its beginning. After the value all is forced: the number it
    cites follows from the words, so a model too small to cite cannot cite wrongly, and a worker
    that knows forced tokens need not decode them one by one.
    """
    shown = [
        (number, [BARRED if barred(piece) else piece for piece in spans_of(text)])
        for number, text in passages
    ]
    usable = [(n, pieces) for n, pieces in shown if any(piece[0].isalnum() for piece in pieces)]
    figures = _figures(usable) if figure else None
    if figures is not None:
        usable = figures.usable
    words = {piece for _, pieces in usable for piece in pieces if piece[0].isalnum()}
    leads = sorted(filter(idle, words)) if figures is None else []
    if len(leads) == len(words):
        leads = []
    if not usable:
        raise AnswerError("the passages have no words")
    lines = [_shape(max_value_words)]
    also = ""
    if figures is not None:
        lines.append(figures.rule)
        also = " & FIGURE"
    elif leads:
        lines.append(f"IDLE: /({'|'.join(map(re.escape, leads))})([^\\p{{L}}\\p{{N}}].*)?/")
        also = " & ~IDLE"
    branches: list[str] = []
    for number, pieces in usable:
        spans = json.dumps({"substring_chunks": pieces}, ensure_ascii=False)
        lines.append(f"SPAN_{number}: %regex {spans}")
        lines.append(f"VALUE_{number}: SPAN_{number} & SHAPE{also}")
        tail = json.dumps(f'","passages":[{number}]}}')
        branches.append(f"VALUE_{number} {tail}")
    start = json.dumps('{"answer_value":"')
    return "\n".join([f"start: {start} ({' | '.join(branches)})", *lines]) + "\n"


def _shape(max_words: int) -> str:
    """A value begins with a word or a currency sign; only its last word may end a sentence.

    Nor does it run over a colon: in a table's row, a column's name stands before it.
    """
    any_, inner = f"[^ {BARRED}]", f"[^ .!?:;{BARRED}]"
    shape = f"SHAPE: /{START}{any_}*/"
    if max_words > 1:
        between = f"( {any_}*{inner}){{0,{max_words - 2}}}"
        shape += f" | /{START}({any_}*{inner})?{between} {any_}+/"
    return shape


class _Figures(Struct, frozen=True):
    rule: str
    usable: list[tuple[int, list[str]]]


def _figures(passages: list[tuple[int, list[str]]]) -> _Figures | None:
    """The passages in which a value can begin with a number, or None where there are none.

    A branch that nothing can match would leave a member with no token to choose.
    """
    for rule, begins in ((DIGITS_FIRST, _has_digit_first), (WORD_FIRST, _is_number_word)):
        usable = [(n, pieces) for n, pieces in passages if any(map(begins, pieces))]
        if usable:
            return _Figures(rule, usable)
    return None


def _has_digit_first(piece: str) -> bool:
    return piece[0] in "0123456789"


def _is_number_word(piece: str) -> bool:
    return piece.casefold() in NUMBER_WORDS


def spans_of(text: str) -> list[str]:
    """The pieces of a passage that a value is put together from, in order."""
    narrow = BLANKS.sub(" ", text)  # first: the next pattern is slow on long runs
    spoken = UNSPEAKABLE.sub(" ", LINE_MARKER.sub(" ", narrow))
    return PIECE.findall(" ".join(spoken.split()))


def encode(answer: MemberAnswer, extractive: bool, order: Order = "value_first") -> str:
    """An answer as a member would write it."""
    names = ("answer_value", "passages") if extractive else _fields(order)
    return msgspec.json.encode({name: getattr(answer, name) for name in names}).decode()


def closed(text: str) -> str:
    """An answer that was cut after all that is voted on, without its last, half sentence.

    Any other text stays as it is.
    """
    half = HALF_ESCAPE.search(text)
    whole = text[: half.start("half")] if half else text
    # Cut in a text, behind a field, or in the name of the next; only the first ends in "}.
    for begun in (whole + '"}', whole + " }", HALF_FIELD.sub(" }", whole)):
        try:
            found = msgspec.json.decode(begun, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if "is_blank" not in found:
            return text
        name, last = list(found.items())[-1]
        if begun.endswith('"}') and isinstance(last, str):
            kept = SENTENCES.match(last)
            found[name] = kept.group() if kept else ""
        return msgspec.json.encode(found).decode()
    return text


def parse_free(text: str) -> MemberAnswer:
    """Read JSON of a client's own schema. Raises AnswerError unless it is JSON."""
    try:
        msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise AnswerError(f"it is not valid: {error}") from error
    return MemberAnswer(answer_value=text.strip(), answer=text.strip())


def parse(text: str, passages: Sequence[int]) -> MemberAnswer:
    """Read a member's output. Raises AnswerError unless it is an answer that cites `passages`."""
    try:
        found = msgspec.json.decode(text.encode("utf-8", "surrogatepass"), type=MemberAnswer)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise AnswerError(f"it is not valid: {error}") from error
    unknown = sorted(set(found.passages) - set(passages))
    if unknown:
        raise AnswerError(f"it cites passages that were not shown: {', '.join(map(str, unknown))}")
    return msgspec.structs.replace(
        found,
        answer_value=found.answer_value.strip(),
        answer_unit=found.answer_unit.strip(),
        passages=tuple(dict.fromkeys(found.passages)),
        answer=found.answer.strip(),
        explanation=found.explanation.strip(),
    )
