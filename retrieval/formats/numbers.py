"""How a spreadsheet shows a number, where that says what it means. Pure."""

import datetime
import re

__all__ = ["shown_number"]

# Of a number format: what is written as it stands, and marks of colours and languages.
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_DAY = re.compile("[yd]", re.IGNORECASE)
_DAY_0, _LAST_DAY = datetime.date(1899, 12, 30), 2_958_466  # of the year 9999


def shown_number(value: float, number_format: str | None) -> str:
    """The digits a spreadsheet shows at most; shares shown per cent, and days, as such.

    >>> shown_number(0.0525, "0.00%"), shown_number(37261, "m/d/yyyy"), shown_number(0.1 + 0.2, "")
    ('5.25%', '2002-01-05', '0.3')
    """
    pattern = _LITERAL.sub("", number_format or "")
    if "%" in pattern:
        return f"{value * 100:.15g}%"
    if _DAY.search(pattern) and 0 < value < _LAST_DAY:
        return (_DAY_0 + datetime.timedelta(days=int(value))).isoformat()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
