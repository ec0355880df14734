"""How numbers look on a terminal."""

from coupling.cli.render.numbers import number, percent


def test_numbers():
    assert number(0.12345) == "0.123"
    assert number(0.12345, 4, sign=True) == "+0.1235"
    assert number(None) == "-"
    assert percent(0.0456) == "4.6%"
    assert percent(None) == "-"
