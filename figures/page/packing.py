"""Numbers as the page stores them: arrays in 16 or 8 bits as base64, and short decimal numbers."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Float

BITS = (16, 8)
"""Bits of a number: 16 are exact to 1/65534 of the array's range, 8 to 1/254."""


def packed(values: Float[np.ndarray, "*shape"], bits: int = 16) -> list[Any]:
    """An array as ``[lowest, highest, bits, base64]``; the page's ``unpacked`` reads it.

    A code of c stands for ``lowest + c (highest - lowest) / (2^bits - 2)``; the largest code stands for a number that
    is not finite.

    Args:
        values: numbers, row by row.
        bits: 16 or 8.

    Example:
        >>> import numpy as np
        >>> packed(np.array([0.0, 1.0, np.nan]), bits=8)
        [0.0, 1.0, 8, 'AP7/']
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = np.isfinite(flat)
    low, high = (float(flat[finite].min()), float(flat[finite].max())) if finite.any() else (0.0, 0.0)
    low, high = float(f"{low:.9g}"), float(f"{high:.9g}")
    steps = 2**bits - 2
    share = (np.where(finite, flat, low) - low) / (high - low) if high > low else np.zeros(len(flat))
    codes = np.where(finite, np.rint(np.clip(share, 0, 1) * steps), steps + 1).astype("<u2" if bits == 16 else "u1")
    return [low, high, bits, base64.b64encode(codes.tobytes()).decode("ascii")]


def unpacked(array: list[Any]) -> Float[np.ndarray, " values"]:
    """The numbers of ``packed``, flat; NaN where they were not finite.

    Example:
        >>> import numpy as np
        >>> unpacked(packed(np.array([0.0, 0.5, np.inf]))).round(4).tolist()
        [0.0, 0.5, nan]
    """
    low, high, bits, text = array
    steps = 2**bits - 2
    codes = np.frombuffer(base64.b64decode(text), dtype="<u2" if bits == 16 else "u1").astype(np.float64)
    return np.where(codes > steps, np.nan, low + codes * (high - low) / steps)


def short_numbers(values: Float[np.ndarray, "*shape"], digits: int = 4) -> list[float | None]:
    """Numbers with ``digits`` significant digits; null where they are not finite.

    Example:
        >>> import numpy as np
        >>> short_numbers(np.array([1.23456, np.nan]))
        [1.235, None]
    """
    return [short(value, digits) for value in np.asarray(values).ravel()]


def short(value: float | None, digits: int = 5) -> float | None:
    """One number with ``digits`` significant digits; null where it is not finite."""
    return float(f"{value:.{digits}g}") if value is not None and np.isfinite(value) else None
