"""How the reward ``number`` reads a completion."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupling.analyses.rl.numbers import last_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so 7 and 1200.", 1200),
        ("#### 1,200", 1200),
        ("1,234,567.5", Fraction("1234567.5")),
        ("1,2,3", 3),
        ("1, 2, 3", 3),
        ("12,34", 34),
        ("1,2000", 2000),
        ("1,200,5", 5),
        ("x=\u22127", -7),
        ("x = \u2212 7", -7),
        ("x = - 7", -7),
        ("8 - 7", 7),
        ("\u20135", -5),
        ("3\u20135", 5),
        ("x=-7", -7),
        ("+7", 7),
        ("7-3", 3),
        ("(2)-3", 3),
        ("2020-2021", 2021),
        ("-$7.50", Fraction("-7.5")),
        ("$7", 7),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        ("1 / 4", Fraction(1, 4)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (r"$-\dfrac{3}{4}$", Fraction(-3, 4)),
        (r"\frac{-1}{2}", Fraction(-1, 2)),
        (r"\frac{1}{-2}", Fraction(-1, 2)),
        (r"-\frac{-1}{2}", Fraction(1, 2)),
        (r"\frac{1.5}{2}", Fraction(3, 4)),
        (r"\frac{1,000}{2}", 500),
        (r"\frac12", Fraction(1, 2)),
        ("1/-2", Fraction(-1, 2)),
        ("3 1/2", Fraction(7, 2)),
        ("-3 1/2", Fraction(-7, 2)),
        ("3 5/2", Fraction(5, 2)),
        ("1/2/3", None),
        ("1.2.3", None),
        ("10^3", 1000),
        ("2*10^3", 2000),
        ("-2 * 10^3", -2000),
        (r"2 \times 10^{3}", 2000),
        ("1.5 \u00d7 10^\u22122", Fraction(3, 200)),
        ("2**10", 1024),
        ("2^99999", None),
        ("1 000", 0),
        ("1'000", 1000),
        ("1\u202f000", 1000),
        ("1e5000000", None),
        ("1.2e3.4", None),
        ("3e3", 3000),
        ("3E\u22122", Fraction("0.03")),
        ("1.5e+3", 1500),
        (".5", Fraction(1, 2)),
        ("50%", 50),
        ("version 1.2.", Fraction("1.2")),
        ("none", None),
        ("", None),
        ("1/0", None),
        ("9" * 5000, None),
        ("\u0663", 3),
    ],
)
def test_the_format(text, value):
    assert last_number(text) == value


@given(st.text(alphabet="0123456789,.-\u2212/eE+ $x(){}\\frac\n^*='", max_size=60))
def test_any_text_is_read_or_is_none(text):
    value = last_number(text)
    assert value is None or isinstance(value, Fraction)


@given(st.integers(-(10**12), 10**12))
def test_a_whole_number_is_itself_with_and_without_groups(value):
    assert last_number(f"it is {value}.") == last_number(f"it is {value:,}.") == value


def test_long_completions_are_read_in_time():
    began = time.perf_counter()
    many = ("1,", "123,", "1/", "1 ", "10^", "1'", "1*")
    for text in (*(part * 50_000 for part in many), "9" * 100_000, "-" * 100_000):
        last_number(text)
    assert time.perf_counter() - began < 5
