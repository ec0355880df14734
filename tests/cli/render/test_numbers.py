"""How numbers look on a terminal."""

from coupling.cli.render.numbers import figures, number, p_value, percent, percent_with_error, points


def test_numbers():
    assert number(0.12345) == "0.123"
    assert number(0.12345, 4, sign=True) == "+0.1235"
    assert number(None) == "-"
    assert percent(0.0456) == "4.56%"
    assert percent(None) == "-"
    assert percent(-0.00001) == "0.00%"
    assert number(-0.00001) == "0.000"
    assert points(0.01234, sign=True) == "+1.23"
    assert points(None) == "-"
    assert (p_value(0.0456), p_value(3.2e-5), p_value(None)) == ("0.046", "3e-05", "-")


def test_significant_digits():
    values = [0.041234, 0.99961, 9.996, 287.772, 12345.6, -0.0075, 3.21e-7, 0.0, -1e-17, None, float("nan")]
    texts = ["0.0412", "1.00", "10.0", "288", "12346", "-0.00750", "3.21e-07", "0", "0", "-", "-"]
    assert [figures(value) for value in values] == texts
    assert figures(0.5, 2, sign=True) == "+0.50"
    assert [percent(value) for value in (0.28941, 0.09996, 0.9996, 1, -0.5)] == [
        "28.9%", "10.0%", "100%", "100%", "-50.0%",
    ]  # fmt: skip


def test_a_share_has_as_many_digits_as_its_error():
    assert percent_with_error(0.1551, 0.0042) == "15.5% ± 0.4%"
    assert percent_with_error(-0.00001, 0.0042) == "0.0% ± 0.4%"
    assert percent_with_error(0.00006, 0.00004) == "0.006% ± 0.004%"
    assert percent_with_error(0.1551, None) == "15.5%"
    assert percent_with_error(None, 0.1) == "-"
