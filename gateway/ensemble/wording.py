"""Ways of writing that change no value: LaTeX, dates, lists, figures, quotation marks. Pure."""

import re
import unicodedata

from gateway.ensemble.months import MONTHS

__all__ = ["date", "figures", "items", "plain"]

QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"'})

# LaTeX: what stands for a character, and commands that only say how their argument looks.
SYMBOLS = {
    "times": "x", "cdot": "x", "approx": "~", "sim": "~", "simeq": "~", "leq": "<=", "le": "<=",
    "geq": ">=", "ge": ">=", "pm": "±", "mu": "µ", "degree": "°", "circ": "°", "to": "to",
    "quad": " ", "ldots": "…",
}  # fmt: skip
MATH = re.compile(
    r"\$\$?((?=[^$]*[\\^_{])[^$]*+)\$\$?|\\[(\[]((?:(?!\\[()\[\]]).)*+)\\[)\]]", re.DOTALL
)
WHOLE_MATH = re.compile(r"\$([^$]+)\$")
STYLE = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|boxed|emph)"
    r"\s*\{([^{}]*)\}"
)
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
ESCAPED = re.compile(r"\\([%&#_{}$])")
SPACING = re.compile(r"\\[,;:! ]|(?<=\d)~(?=\S)")
BRACED = re.compile(r"(?<=[\^_])\{([^{}]*)\}|\{,\}")
COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
LATEX = re.compile(r"\\|\{,\}|\^\{|^\$.*\$$")
NESTING = 4

MONTH = rf"(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})\b\.?"
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er|\.|[º°])?"
YEAR = r"(?P<year>\d{4})"
DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:(?:the|am|le|el|il|em)\s+)?{DAY}\s+(?:(?:of|de)\s+)?{MONTH}(?:,?\s+(?:de\s+)?{YEAR})?",
        rf"{MONTH}\s+(?:the\s+)?{DAY}(?:,?\s+{YEAR})?",
        rf"{MONTH},?\s+(?:de\s+)?{YEAR}",
        rf"{YEAR}-(?P<month>\d\d)-(?P<day>\d\d)(?:[T ]00:00(?::00)?Z?)?",
        rf"{YEAR}/(?P<month>\d\d?)/(?P<day>\d\d?)",
        rf"(?P<day>\d\d?)\. ?(?P<month>\d\d?)\. ?{YEAR}",  # with dots, days come first everywhere
    )
]
WEEKDAY = re.compile(r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+", re.IGNORECASE)

# Numbers in words, below a thousand: "twenty-four", "one hundred and five".
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
TEENS = "fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SPELLED = {
    **{word: number for number, word in enumerate(f"{ONES} {TEENS}".split())},
    **{word: 10 * number for number, word in enumerate(TENS.split(), 2)},
}
ANY_WORD, UNIT_WORD = "|".join(SPELLED), "|".join(list(SPELLED)[1:10])
BELOW_HUNDRED = rf"(?:(?:{TENS.replace(' ', '|')})(?:[ -](?:{UNIT_WORD}))?|(?:{ANY_WORD}))"
WORDS = re.compile(
    rf"(?:(?:{UNIT_WORD}) hundred(?: (?:and )?{BELOW_HUNDRED})?|{BELOW_HUNDRED})"
    rf"(?=[ %]|$)(?! (?:{ANY_WORD})\b)",
    re.IGNORECASE,
)
# Thousands apart by spaces, and by points where a comma says that these are no decimals.
SPACED = re.compile(r"(?<![\d.,])(?<!\d )\d{1,3}(?: \d{3})++(?![\d ]*\d)")
CONTINENTAL = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.,])")
DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d{1,2})(?![\d,.])")
APOSTROPHES = re.compile(r"(?<![\d.,'])\d{1,3}(?:'\d{3}){1,8}(?![\d'])")  # as Swiss write it
RAISED = re.compile(r"(?<=\d)[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
VULGAR = re.compile(r"(\d{0,9}) ?([¼½¾⅐-⅞])")
TEN_TO_THE = re.compile(r"^10 ?\^ ?([+-]?\d{1,3})(?!\d)")
CURRENCY = {"usd": "$", "us$": "$", "eur": "€", "gbp": "£"}
CURRENCY_FIRST = re.compile(r"^([+-]?)(usd|us\$|eur|gbp) ?(?=[\d.+-])", re.IGNORECASE)
MINUS = re.compile(r"^(?:minus|negative) (?=[\d.£$€])", re.IGNORECASE)
SIGNED_MONEY = re.compile(r"^([+-]) ?([£$€])(?=[\d.])")

BRACKETS = {"[": "]", "{": "}", "(": ")"}
# "And" in the languages of quantities.py, where it is no other word: "e" and "o" are letters, too.
AND = r"(?:and|und|et(?! al\b)|y)"
SEPARATOR = re.compile(rf"\s*[;,]\s*(?:(?:{AND}|or)\s+|&\s*)*|(?:\s+{AND})+\s+")
NUMBER_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def plain(text: str) -> str:
    """The text without LaTeX, with straight quotation marks, "½" as 0.5 and "10²" as 10^2."""
    straight = VULGAR.sub(_vulgar, text.translate(QUOTES))
    straight = RAISED.sub(lambda found: f"^{found.group().translate(LOWERED)}", straight)
    return _without_latex(straight) if LATEX.search(straight) or "$" in straight else straight


def date(text: str) -> str | None:
    """A date as YYYY-MM-DD, YYYY-MM or --MM-DD; None where it is none, or is ambiguous."""
    text = WEEKDAY.sub("", text)
    for pattern in DATES:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        known = found.groupdict()
        month = known["month"].lower()
        number = int(month) if month.isdigit() else MONTHS[month]
        day, year = known.get("day"), known.get("year")
        if not 1 <= number <= 12 or (day is not None and not 1 <= int(day) <= 31):
            return None
        parts = [year or "-", f"{number:02d}"]
        if day is not None:
            parts.append(f"{int(day):02d}")
        return "-".join(parts)
    return None


def items(text: str, max_words: int = 4) -> list[str] | None:
    """The items of a list, in its order; None where it is none. Without brackets, items are short:
    a sentence has commas too."""
    bracketed = BRACKETS.get(text[:1]) == text[-1:] and len(text) > 1
    inner = text[1:-1] if bracketed else text
    whole = NUMBER_COMMA.sub("", inner) if not bracketed else inner
    found = [item.strip() for item in SEPARATOR.split(whole)]
    found = [item for item in found if item]
    if bracketed:
        return found or None
    if len(found) < 2 or any(len(item.split()) > max_words for item in found):
        return None
    return found


def figures(text: str) -> str:
    """The text with the number that it begins with in plain digits, as "1234.5"."""
    text = CURRENCY_FIRST.sub(lambda found: found[1] + CURRENCY[found[2].casefold()], text)
    text = SIGNED_MONEY.sub(r"\2\1", MINUS.sub("-", text))
    text = APOSTROPHES.sub(lambda found: found.group().replace("'", ""), text)
    text = SPACED.sub(lambda found: found.group().replace(" ", ""), text)
    text = CONTINENTAL.sub(lambda found: found.group().replace(".", "").replace(",", "."), text)
    text = TEN_TO_THE.sub(r"1e\1", DECIMAL_COMMA.sub(r"\1.\2", text))
    spelled = WORDS.match(text)
    if spelled is None:
        return text
    number = 0
    for word in re.findall(r"[a-z]+", spelled.group().casefold()):
        if word == "hundred":
            number = max(number, 1) * 100
        elif word != "and":
            number += SPELLED[word]
    return f"{number} {text[spelled.end() :]}".strip()


def _vulgar(found: re.Match[str]) -> str:
    return f"{int(found[1] or 0) + unicodedata.numeric(found[2]):.6g}"


def _without_latex(text: str) -> str:
    found = MATH.sub(lambda math: math[1] or math[2] or "", text)
    if whole := WHOLE_MATH.fullmatch(found.strip()):
        found = whole[1]
    if not LATEX.search(found):
        return found
    for _ in range(NESTING):  # from the inside out
        inner = STYLE.sub(r"\1", FRACTION.sub(r"\1/\2", BRACED.sub(_unbraced, found)))
        if inner == found:
            break
        found = inner
    found = SPACING.sub(" ", ESCAPED.sub(r"\1", found))
    found = COMMAND.sub(lambda command: f" {SYMBOLS.get(command[1], command[1])} ", found)
    return " ".join(found.split())


def _unbraced(found: re.Match[str]) -> str:
    return "," if found.group() == "{,}" else found[1]
