"""Numbers as text."""

import pytest

from coupling.numbers_as_text import significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.041234, "0.0412"), (0.99961, "1.00"), (9.996, "10.0"), (287.772, "288"), (12345.6, "12346"),
        (-0.0075, "-0.00750"), (3.21e-7, "3.21e-07"), (-1e-17, "0"), (0.00012344, "0.000123"),
    ],
)  # fmt: skip
def test_three_digits_count(value, text):
    assert significant(value) == text
    if text != "0":
        assert float(text) == pytest.approx(value, rel=0.5 * 10**-2)


def test_signs_and_other_counts():
    assert significant(0.5, 2, sign=True) == "+0.50"
    assert significant(-0.5, 2, sign=True) == "-0.50"
