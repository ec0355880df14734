"""How numbers look on a terminal."""


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number with a fixed count of digits after the point; a dash where there is none."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}%"
