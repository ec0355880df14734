"""Numbers as text, the same on a terminal and on the page."""


def significant(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """A number of any size with some significant digits, without an exponent where it is readable without.

    Args:
        value: a finite number.
        digits: how many digits count.
        sign: write a plus before a positive number.

    Example:
        >>> significant(0.041234), significant(287.772), significant(12345.6), significant(0.0), significant(3.21e-7)
        ('0.0412', '288', '12346', '0', '3.21e-07')
    """
    if abs(value) < 1e-12:
        return "0"
    plus = "+" if sign else ""
    exponent = int(f"{value:.{digits - 1}e}".rpartition("e")[2])  # of the rounded number: 0.9996 is 1.00
    if exponent < -4:
        return f"{value:{plus}.{digits - 1}e}"
    return f"{value:{plus}.{max(0, digits - 1 - exponent)}f}"
