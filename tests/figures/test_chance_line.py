"""The dashed line of the chance level."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from coupling.figures.chance_line import draw_chance, explain_chance, has_chance

ROWS = pd.DataFrame({"step": [0, 0, 4], "chance": [0.1, 0.3, 0.4]})


def test_the_mean_of_each_step_is_drawn():
    axes = Figure().subplots()
    draw_chance(axes, ROWS, "#123456")
    (line,) = axes.lines
    assert np.allclose(line.get_xydata(), [[0, 0.2], [4, 0.4]])
    assert (line.get_linestyle(), line.get_color()) == ("--", "#123456")


def test_tables_without_chance_have_no_line():
    axes = Figure().subplots()
    for rows in (ROWS.drop(columns="chance"), ROWS.assign(chance=np.nan)):
        assert not has_chance(rows)
        draw_chance(axes, rows, "#123456")
    assert not axes.lines


def test_the_legend_has_one_entry():
    axes = Figure().subplots()
    explain_chance(axes)
    assert axes.get_legend_handles_labels()[1] == ["chance"]
