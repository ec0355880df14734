"""Numbers of statistics on a terminal."""

from coupling.cli.render.statistics import interval, short_interval, three_figures, two_digits


def test_two_digits():
    assert two_digits(0.126) == "0.13"
    assert interval([0.1234, -0.5], two_digits) == "0.12 to -0.50"
    assert interval(None) == short_interval(None) == three_figures(None) == "-"


def test_how_numbers_look():
    assert (interval(None), interval([0.1, 0.25])) == ("-", "0.100 to 0.250")
    assert (short_interval(None), short_interval([0.1, 0.256])) == ("-", "0.10–0.26")
    assert (three_figures(None), three_figures(1234.5)) == ("-", "1234")
