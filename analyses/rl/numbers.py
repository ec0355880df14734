"""Numbers in the text of a completion, as the reward ``number`` reads them."""

import re
from collections import deque
from fractions import Fraction

MINUS = "\u2212\ufe63\uff0d-"
"""Characters for a minus: Unicode's, its small and wide forms, and the hyphen (last, as a pattern's set needs it)."""
_WHOLE = r"\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d+"
_DECIMAL = rf"(?:(?:{_WHOLE})(?:\.\d+)?|\.\d+)(?:[eE][+{MINUS}]?\d{{1,3}}(?!\d))?"
NUMBER = re.compile(
    rf"(?P<sign>(?<![\w)\].])[+{MINUS}][$€£]?)?"
    rf"(?:\\[dt]?frac\{{(?P<over>\d+)\}}\{{(?P<under>\d+)\}}|(?P<value>{_DECIMAL})(?:\s?/\s?(?P<divisor>{_DECIMAL}))?)"
)
LONGEST = 400
"""The most characters of one number; a longer one is no answer."""


def last_number(text: str) -> Fraction | None:
    r"""The last number of a text, exactly; None if there is none.

    Read are whole numbers and decimals (``7``, ``0.5``, ``.5``), with groups of three digits (``1,200``), an exponent
    (``3e3``), a sign (also Unicode's minus, and before a currency), and one number divided by another (``1/2``,
    ``\frac{1}{2}``). Commas that do not make groups of three separate numbers (``1,2,3`` ends in 3), and a hyphen after
    a digit or a letter is no sign (``7-3`` ends in 3). What follows a number, such as ``%``, does not change it.

    Example:
        >>> [str(last_number(text)) for text in ("so 1,200.", "1,2,3", "x=\u22127", "1/2", "3e3", "none")]
        ['1200', '3', '-7', '1/2', '3000', 'None']
    """
    matches = deque(NUMBER.finditer(text), maxlen=1)
    found = matches[0] if matches else None
    if found is None or len(found[0]) > LONGEST:
        return None
    try:
        if found["over"] is not None:
            value = Fraction(int(found["over"]), int(found["under"]))
        else:
            value = _exact(found["value"]) / (_exact(found["divisor"]) if found["divisor"] is not None else 1)
    except ZeroDivisionError:
        return None
    return -value if (found["sign"] or "+")[0] in MINUS else value


def _exact(decimal: str) -> Fraction:
    """A decimal number, of which Unicode's digits and minus are read as well."""
    return Fraction(re.sub(f"[{MINUS}]", "-", decimal.replace(",", "")))
