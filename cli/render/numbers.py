"""How numbers look on a terminal."""


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number with a fixed count of digits after the point; a dash where there is none."""
    return "-" if value is None else _without_negative_zero(f"{value:{'+' if sign else ''}.{digits}f}")


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "-" if value is None else _without_negative_zero(f"{100 * value:.1f}%")


def _without_negative_zero(text: str) -> str:
    return text.removeprefix("-") if not text.strip("-+0.%") else text


def points(value: float | None, sign: bool = False) -> str:
    """A difference of percentages, in points of percent with two digits; a dash where there is none."""
    return number(None if value is None else 100 * value, 2, sign)


def p_value(value: float | None) -> str:
    """A p-value: three digits after the point, or its order of magnitude where it is smaller."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
