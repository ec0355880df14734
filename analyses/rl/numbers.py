"""Numbers in the text of a completion, as the reward ``number`` reads them."""

import re
from collections import deque
from fractions import Fraction

MINUS = "\u2212\ufe63\uff0d\u2013-"
"""Characters for a minus: Unicode's, its small and wide forms, the en dash, the hyphen (last, as a set needs it)."""
SPACES = "\u00a0\u2009\u202f'\u2019"
"""Characters beside the comma that separate groups of three digits: spaces that do not break, and apostrophes."""
_WHOLE = rf"\d{{1,3}}(?:,\d{{3}})+(?![\d,]*\d)|\d{{1,3}}(?:[{SPACES}]\d{{3}})+(?!\d)|\d+"
_DECIMAL = rf"(?:(?:{_WHOLE})(?:\.\d+)?|\.\d+)(?:[eE][+{MINUS}]?\d+)?"
_SIGN = rf"(?<![\w)\].])[+{MINUS}]"
_SIGNED = rf"[+{MINUS}]?\s?(?:{_DECIMAL})"
NUMBER = re.compile(
    rf"(?P<sign>{_SIGN}[$€£]?)?"
    rf"(?:\\[dt]?frac(?:\{{\s?(?P<over>{_SIGNED})\s?\}}\s?\{{\s?(?P<under>{_SIGNED})\s?\}}|\s?(?P<digits>\d\d)(?!\d))|"
    rf"(?P<value>{_DECIMAL})(?:\s?(?:\^|\*\*)\s?\{{?(?P<power>[+{MINUS}]?\d+)\}}?)?"
    rf"(?:\s?/\s?(?P<divisor>[+{MINUS}]?(?:{_DECIMAL})))?)"
)
TIMES_TEN = re.compile(rf"(?P<sign>{_SIGN})?(?P<value>{_DECIMAL})\s?(?:\*|\u00d7|\u00b7|\\times|\\cdot)\s?$")
"""What stands before a power of ten that it multiplies."""
MIXED = re.compile(rf"(?P<sign>{_SIGN})?(?<![\d.,/])(?P<value>\d{{1,9}})\s$")
"""A whole number before a fraction, which are one number."""
EQUALS_MINUS = re.compile(rf"[=\u2248(]\s?[{MINUS}]\s?$")
"""A minus that stands alone, and is not a difference."""
LONGEST = 400
"""The most characters of one number; a longer one is no answer."""
LARGEST_EXPONENT = 999


def last_number(text: str) -> Fraction | None:
    r"""The last number of a text, exactly; None if there is none, or if the last one is not of a form that is read.

    Read are whole numbers and decimals (``7``, ``0.5``, ``.5``), with groups of three digits (``1,200``, ``1'200``), an
    exponent (``3e3``, ``10^3``, ``2*10^3``), a sign (also Unicode's minus and an en dash, before a currency, and after
    an equals sign), one number divided by another (``1/2``, ``\frac{1}{2}``), and a whole number with a fraction
    (``3 1/2``). Commas that do not make groups of three separate numbers (``1,2,3`` ends in 3), and a hyphen after a
    digit or a letter is no sign (``7-3`` ends in 3). What follows a number, such as ``%``, does not change it. Not read
    are chains such as ``1/2/3`` and ``1.2.3``, and exponents beyond 999.

    Example:
        >>> [str(last_number(text)) for text in ("so 1,200.", "1,2,3", "x=\u22127", "1/2", "3e3", "none")]
        ['1200', '3', '-7', '1/2', '3000', 'None']
    """
    matches = deque(NUMBER.finditer(text), maxlen=2)
    if not matches:
        return None
    found = matches[-1]
    if len(found[0]) > LONGEST or (len(matches) == 2 and text[matches[0].end() : found.start()] in ("", "/")):
        return None
    before = text[max(0, found.start() - LONGEST) : found.start()]
    try:
        value = _value(found)
        sign = found["sign"]
        times = TIMES_TEN.search(before) if found["power"] and found["value"] == "10" and not sign else None
        mixed = MIXED.search(before) if found["divisor"] and not sign else None
        if times:
            value, sign, before = value * _exact(times["value"]), times["sign"], before[: times.start()]
        elif mixed and 0 < value < 1:
            value, sign, before = value + int(mixed["value"]), mixed["sign"], before[: mixed.start()]
    except (ZeroDivisionError, OverflowError):
        return None
    is_negative = sign[0] in MINUS if sign else EQUALS_MINUS.search(before) is not None
    return -value if is_negative else value


def _value(found: re.Match[str]) -> Fraction:
    """The value of a match of ``NUMBER`` without its sign."""
    if found["digits"] is not None:  # LaTeX takes one digit each
        return Fraction(int(found["digits"][0]), int(found["digits"][1]))
    if found["over"] is not None:
        return _exact(found["over"]) / _exact(found["under"])
    value = _exact(found["value"])
    if found["power"] is not None:
        power = int(_plain(found["power"]))
        if abs(power) > LARGEST_EXPONENT or len(found["value"]) > 20:
            raise OverflowError
        value **= power
    return value / (_exact(found["divisor"]) if found["divisor"] is not None else 1)


def _exact(decimal: str) -> Fraction:
    """A decimal number, of which Unicode's digits and minus are read as well.

    Raises:
        OverflowError: if its exponent is out of bounds.
    """
    plain = re.sub(rf"[,\s{SPACES}]", "", _plain(decimal))
    _, _, exponent = plain.lower().partition("e")
    if len(exponent) > 4 or (exponent and abs(int(exponent)) > LARGEST_EXPONENT):
        raise OverflowError
    return Fraction(plain)


def _plain(text: str) -> str:
    """A number with a hyphen for each minus."""
    return re.sub(f"[{MINUS}]", "-", text)
