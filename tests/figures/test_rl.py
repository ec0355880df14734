"""The picture rl, from tables written by hand."""

import io

import numpy as np
import pandas as pd
import pytest

from coupling import figures
from coupling.errors import CouplingError

TABLE = """run,seed,step,reward,ess,kl,score
p3o,0,0,0.1,1.0,0.0,0.05
p3o,1,0,0.3,0.8,0.0,0.05
p3o,0,1,0.5,0.9,0.01,
p3o,1,1,0.7,0.9,0.03,
grpo,0,0,0.1,1.0,0.0,0.05
grpo,0,1,0.2,1.0,0.0,0.06
"""


@pytest.fixture
def table():
    return pd.read_csv(io.StringIO(TABLE))


def test_rl_stacks_what_the_table_contains_on_one_axis(table):
    figure = figures.rl(table)
    titles = [axes.get_ylabel().split("\n")[0] for axes in figure.axes]
    assert titles == ["mean reward", "effective", "KL, nats", "coupling"]
    reward = figure.axes[0]
    assert np.allclose(reward.lines[0].get_ydata(), [0.2, 0.6])
    assert len(reward.collections) == 1  # a band over the seeds of the one run that has several
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[3].lines[0].get_xdata().tolist() == [0]  # coupling is measured at fewer steps
    assert len(figures.rl(table.drop(columns=["ess", "kl"])).axes) == 2
    excess = figures.rl(table.assign(excess=0.1)).axes[1]
    assert excess.get_ylabel() == "excess over\nchance"
    assert excess.yaxis.get_major_formatter()(0.1).endswith("%")
    *_, added = figures.rl(table.assign(mismatch_to_initial=[0.5] * len(table))).axes
    assert added.get_ylabel() == "mismatch\nto initial"
    assert set(added.lines[0].get_ydata()) == {0.5}


@pytest.mark.parametrize("name", ["p3o/kl_behavior", "p3o/kl_behaviour"])
def test_both_spellings_of_a_logged_column_are_understood(table, name):
    """Tables of earlier versions have the second one; the picture draws the column kl of either."""
    lines = [line.get_ydata() for line in figures.rl(table).axes[2].lines]
    with_log = [line.get_ydata() for line in figures.rl(table.assign(**{name: 7.0})).axes[2].lines]
    assert all(np.array_equal(first, second) for first, second in zip(lines, with_log, strict=True))


def test_chance_is_dashed_beside_the_score(table):
    axes = figures.rl(table.assign(chance=0.013)).axes[3]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_ydata())]
    assert {value for line in dashed for value in line.get_ydata()} == {0.013}


def test_names_that_begin_with_an_underscore_are_in_the_legend(table):
    assert figures.rl(table.assign(run="_first")).legends[0].get_texts()[0].get_text() == " _first"


def test_a_table_without_numbers_is_refused():
    with pytest.raises(CouplingError, match="contains no numbers in reward, excess"):
        figures.rl(pd.DataFrame({"step": [0], "reward": [np.nan]}))
