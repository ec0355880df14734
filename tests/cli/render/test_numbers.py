"""How numbers look on a terminal."""

from coupling.cli.render.numbers import number, p_value, percent, points


def test_numbers():
    assert number(0.12345) == "0.123"
    assert number(0.12345, 4, sign=True) == "+0.1235"
    assert number(None) == "-"
    assert percent(0.0456) == "4.6%"
    assert percent(None) == "-"
    assert percent(-0.0001) == "0.0%"
    assert number(-0.00001) == "0.000"
    assert points(0.01234, sign=True) == "+1.23"
    assert points(None) == "-"
    assert (p_value(0.0456), p_value(3.2e-5), p_value(None)) == ("0.046", "3e-05", "-")
