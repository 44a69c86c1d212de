"""Regular expressions of JSON schemas, as Rust's engine is to read them. Pure.

A schema's are ECMAScript's, many validators read them as Python's, and llguidance reads them as
Rust's. The three differ in what brackets may hold and in what is a letter, a digit and a space.
What is written here is matched by all three, or at least never by Rust's alone.
"""

__all__ = ["portable"]

LETTERS, DIGITS, SPACES = r"\p{L}\p{N}", r"\p{Nd}", r"\x1c-\x1f\x{feff}"
# Classes of characters that may stand there, and those that must not: to ban more is to allow less.
ALLOWED = {
    "W": rf"[^{LETTERS}_]",
    "D": rf"[^{DIGITS}]",
    "S": rf"[^\s{SPACES}]",
}
BANNED = {"w": rf"\w{LETTERS}", "d": rf"\d{DIGITS}", "s": rf"\s{SPACES}"}
SHORTHANDS = frozenset("wWdDsS")
# What only Rust takes for more than a character, in brackets.
MARKS = frozenset("[&~")


def portable(pattern: str) -> str:
    """The pattern, never matching more than it does in ECMAScript and in Python."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            end = _bracket(pattern, at, found)
        else:
            end = _escape(pattern, at, found, ALLOWED)
        at = end
    return "".join(found)


def _escape(pattern: str, at: int, found: list[str], meanings: dict[str, str]) -> int:
    """Copy a character or an escape of two; returns where the next one begins."""
    if pattern[at] != "\\":
        found.append(pattern[at])
        return at + 1
    letter = pattern[at + 1 : at + 2]
    found.append(meanings.get(letter, f"\\{letter}"))
    return at + 2


def _bracket(pattern: str, at: int, found: list[str]) -> int:
    """Copy what stands in brackets; returns where the next one begins."""
    opening = "[^" if pattern.startswith("[^", at) else "["
    found.append(opening)
    at += len(opening)
    meanings = BANNED if opening == "[^" else ALLOWED
    if pattern.startswith("]", at):  # which ends them in ECMAScript alone: the compiler may judge
        found.append("]")
        at += 1
    after_class = False
    while at < len(pattern) and pattern[at] != "]":
        is_class = pattern[at] == "\\" and pattern[at + 1 : at + 2] in SHORTHANDS
        if pattern[at] == "-" and (after_class or _is_class(pattern, at + 1)):
            found.append("\\-")  # no range: it has a class of characters at one of its ends
            at += 1
        elif pattern[at] in MARKS:
            found.append("\\" + pattern[at])
            at += 1
        else:
            at = _escape(pattern, at, found, meanings)
        after_class = is_class
    return at


def _is_class(pattern: str, at: int) -> bool:
    return pattern[at : at + 1] == "\\" and pattern[at + 1 : at + 2] in SHORTHANDS
