"""How numbers look on a terminal."""

import math

from coupling.numbers_as_text import significant


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number with a fixed count of digits after the point, such as a correlation; a dash where there is none."""
    return "-" if value is None else _without_negative_zero(f"{value:{'+' if sign else ''}.{digits}f}")


def figures(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number of any size with some significant digits; a dash where there is none.

    Example:
        >>> figures(0.041234), figures(287.772), figures(12345.6), figures(0.0), figures(3.21e-7)
        ('0.0412', '288', '12346', '0', '3.21e-07')
    """
    return "-" if value is None or math.isnan(value) else significant(value, digits, sign=sign)


def percent(value: float | None) -> str:
    """A share in percent with three significant digits, of which at most two are after the point.

    Example:
        >>> percent(0.289412), percent(0.03391), percent(0.00006), percent(-0.00001)
        ('28.9%', '3.39%', '0.01%', '0.00%')
    """
    if value is None or math.isnan(value):
        return "-"
    size = abs(100 * value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return _without_negative_zero(f"{100 * value:.{digits}f}%")


def percent_with_error(value: float | None, error: float | None) -> str:
    """A share in percent with its standard error, with as many digits as the error has; without one as ``percent``.

    Example:
        >>> percent_with_error(0.03391, 0.0042), percent_with_error(0.00006, 0.00004), percent_with_error(0.5, None)
        ('3.4% ± 0.4%', '0.006% ± 0.004%', '50.0%')
    """
    if value is None or error is None or math.isnan(error):
        return percent(value)
    digits = 1 if error >= 0.0005 else 2 if error >= 0.00005 else 3
    return _without_negative_zero(f"{100 * value:.{digits}f}%") + f" ± {100 * error:.{digits}f}%"


def _without_negative_zero(text: str) -> str:
    return text.removeprefix("-") if not text.strip("-+0.%") else text


def points(value: float | None, sign: bool = False) -> str:
    """A difference of percentages, in points of percent with two digits; a dash where there is none."""
    return number(None if value is None else 100 * value, 2, sign)


def p_value(value: float | None) -> str:
    """A p-value: three digits after the point, or its order of magnitude where it is smaller."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
