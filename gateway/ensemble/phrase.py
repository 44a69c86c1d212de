"""An extracted value as a whole phrase: a date, a name or a range is not cut in two. Pure.

A small model finds where an answer stands better than where it begins and ends: it says "1974" of
"in March 1974", and "William E." of "William E. Simon".
"""

import re
from functools import lru_cache

from gateway.ensemble.evidence import terms
from gateway.ensemble.sought import DATE, sought

__all__ = ["whole_phrase"]

# What is one value, however little of it was said.
HOUR = r"\b\d{1,2}[:.]\d\d\b"
WHOLE = re.compile(
    rf"\b(?:{DATE})|(?<![\w.,–—])\d[\d.,]*[–—]\d+(?:[.,]\d+)*(?![\w–—])"
    rf"|{HOUR}(?: (?:to|until|and|bis|und|à|a) | ?[–—-] ?){HOUR}"
)
NAME_GOES_ON = re.compile(r" (?:[A-Z][\w'’.-]*\w|[A-Z]\.?|[IVX]+\b)")
NAME_BEFORE = re.compile(r"(?<=\S )(?:[A-Z][\w'’-]*) $")
LAST_WORD = re.compile(r"\S+$")
POSSESSIVE = re.compile(r"['’]s$")
# A phrase does not end with these while its sentence goes on ("razed to the" ground).
DANGLING = re.compile(
    r"[ ,]+(?:an?|the|of|and|or|but|than|that|which|is|are|was|were"
    r"|to|from|by|with|for|at|in|on|as|after|before|until|since|while|when|where|if|because)$"
)
INITIAL = re.compile(r"(?:^|\W)[A-Z]$")
INITIAL_CHARS = 3  # "E." and "St." do not end a name, "Smith." does


# "How long was it …?" is answered by "until 1796", not by 1796 alone; "What does it do?" by a verb.
ASKS_SPAN = re.compile(r"\bhow long\b", re.IGNORECASE)
SPAN_BEFORE = re.compile(r"\b(?:until|since) $")
ASKS_DEED = re.compile(
    r"\bwhat (?:do|does|did|can|could|will|would)\b.{1,100}\bdo\W*$", re.IGNORECASE
)
DEED_BEFORE = re.compile(r"\b(?:to|can|could|will|would|must|may) (?P<said>\w+ (?:(?:the|an?) )?)$")


@lru_cache(maxsize=64)  # votes mostly say the same
def whole_phrase(text: str, start: int, end: int, question: str) -> tuple[int, int]:
    """The span of the phrase that `text[start:end]` is of, at least one character long.

    `text` is a sentence. Where it says what something means or costs, and that is asked, it is
    the answer. Dates, ranges and names are completed. What says nothing of its own is left out:
    function words at its end, and clauses after or before a comma that repeat the question.
    """
    if asked := sought(text, start, end, question):
        return _without_dangling(text, *asked)
    for found in WHOLE.finditer(text):
        if found.start() <= start and end <= found.end():
            return found.span()
    low, high = _with_before(text, *_name(text, start, end), question)
    low, high = _without_echo(text, low, high, question)
    return _without_dangling(text, low, high)


def _with_before(text: str, start: int, end: int, question: str) -> tuple[int, int]:
    if ASKS_SPAN.search(question) and (before := SPAN_BEFORE.search(text[:start])):
        start = before.start()
    if ASKS_DEED.search(question) and (before := DEED_BEFORE.search(text[:start])):
        start = before.start("said")
    return start, end


def _name(text: str, start: int, end: int) -> tuple[int, int]:
    if INITIAL.search(text[start:end]) and text[end : end + 1] == ".":
        end += 1
    while (more := NAME_GOES_ON.match(text, end)) and _is_open_name(text[start:end]):
        end = more.end()
    while text[start].isupper() and (before := NAME_BEFORE.search(text[:start])):
        if not terms(before.group()):
            break  # "The", "In"
        start = before.start()
    return start, end


def _is_open_name(value: str) -> bool:
    last = LAST_WORD.search(value)
    if last is None or not last.group()[0].isupper():
        return False
    word = last.group()
    return word[-1].isalnum() or (word.endswith(".") and len(word) <= INITIAL_CHARS)


def _without_echo(text: str, start: int, end: int, question: str) -> tuple[int, int]:
    asked = terms(question)
    while (comma := text.rfind(", ", start, end)) > start and terms(text[comma:end]) <= asked:
        end = comma
    while (comma := text.find(", ", start, max(start, end - 2))) > 0 and terms(
        text[start:comma]
    ) <= asked:
        start = comma + 2
    return start, end


def _without_dangling(text: str, start: int, end: int) -> tuple[int, int]:
    goes_on = text[end : end + 2].strip()[:1].isalnum()
    while goes_on and (found := DANGLING.search(text[start:end])) and found.start() > 0:
        end = start + found.start()
    if (found := POSSESSIVE.search(text[start:end])) and found.start() > 0:
        end -= len(found.group())
    return start, end
