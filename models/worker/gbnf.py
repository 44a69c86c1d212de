"""llama.cpp's grammar notation (GBNF) into llguidance's Lark. Pure.

llguidance brings a converter; what it takes otherwise than llama.cpp does is rewritten for it.
"""

import re

import llguidance.gbnf_to_lark as converter

__all__ = ["to_lark"]

MAX_RULES = 500  # the converter's time grows with their square
# What has no end is a part too, and refused: else its end is looked for from each such beginning.
PARTS = re.compile(
    r"""(?P<comment>\#[^\r\n]*)
    | (?P<literal>"(?:\\.|[^"\\])*")
    | (?P<chars>\[(?:\\.|[^\]\\])*\])
    | (?P<open>["\[])
    | (?P<any>\.)
    | (?P<token>!?<[^>\s]*>?)""",
    re.VERBOSE | re.DOTALL,
)
CODE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
ANY = "[\\x00-\U0010ffff]"  # a line break too
# What both notations escape, and what only a regular expression gives a meaning to in brackets.
LITERAL_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
CHARS_ESCAPES = {"\\": "\\\\", "]": "\\]", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_lark(text: str) -> str:
    """The grammar in Lark. Raises ValueError that says what is wrong."""
    rules = text.count("::=")
    if rules > MAX_RULES:
        raise ValueError(f"it has {rules} rules; at most {MAX_RULES} are taken")
    try:
        return converter.gbnf_to_lark(PARTS.sub(_rewritten, text))
    except ValueError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # the converter raises Exception itself
        raise ValueError(f"it is not GBNF: {error}") from error


def _rewritten(part: re.Match[str]) -> str:
    found = part.group()
    match part.lastgroup:
        case "comment":
            return ""
        case "literal":
            return f'"{CODE.sub(_in_literal, found[1:-1])}"'
        case "chars":
            inverted = "^" if found[1:2] == "^" else ""
            # Several of these in a row are operators of a regular expression, and none here.
            inside = re.sub(r"&&+|~~+", lambda run: run.group()[0], found[1 + len(inverted) : -1])
            return f"[{inverted}{CODE.sub(_in_chars, inside)}]"
        case "any":
            return ANY
        case "open":
            name = "literal" if found == '"' else "bracket"
            raise ValueError(f"the {name} that begins {_place(part)} has no end")
        case _:
            raise ValueError(f"{found[:40]}: tokens in angle brackets are not taken")


def _place(part: re.Match[str]) -> str:
    before = part.string[: part.start()]
    return f"in line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _in_literal(escape: re.Match[str]) -> str:
    return _escaped(escape, LITERAL_ESCAPES)


def _in_chars(escape: re.Match[str]) -> str:
    return _escaped(escape, CHARS_ESCAPES)


def _escaped(escape: re.Match[str], escapes: dict[str, str]) -> str:
    """A character by its code as itself, where the converter would misread the code."""
    code = next((group for group in escape.groups()[:3] if group is not None), None)
    if code is None:
        return escape.group()
    character = chr(int(code, 16))
    if character < " ":
        return escapes.get(character, f"\\x{ord(character):02x}")
    if character in "-^&~[" and escapes is CHARS_ESCAPES:
        return f"\\x{ord(character):02x}"
    return escapes.get(character, character)
