"""What the report's charts share."""

import altair as alt
import numpy as np

from coupling.figures.page.vega import CONTROLS, ChartWithData, in_parts, is_chosen, parameters, short_numbers


def test_numbers_are_short_and_missing_ones_null():
    assert in_parts(np.array([[0.12345, np.nan], [-1.0, np.inf]])) == [1234, None, -10_000, None]
    assert short_numbers(np.array([123456.0, 0.00123456, np.nan])) == [123500.0, 0.001235, None]


def test_the_rows_come_only_into_the_specification():
    chart = alt.Chart(alt.NamedData("rows")).mark_point()
    specification = ChartWithData(chart, {"rows": [{"x": 1}]}).specification()
    assert specification["datasets"] == {"rows": [{"x": 1}]}
    assert specification["data"] == {"name": "rows"}


def test_parameters_are_bound_to_the_page_s_controls():
    bound = [parameter.to_dict() for parameter in parameters("".join(CONTROLS))]
    assert len(bound) == len(CONTROLS)
    specification = alt.Chart(alt.NamedData("rows")).mark_point().add_params(*parameters("KT")).to_dict()
    assert [parameter["bind"]["element"] for parameter in specification["params"]] == ["#control-k", "#control-prompt"]


def test_the_chosen_row_fits_all_controls():
    assert is_chosen("KV") == "datum.k == toNumber(K) && datum.v == V"
    assert is_chosen("TB", prompt="0") == "datum.t == 0 && datum.block == B"
