"""The pictures of the study draw what the table contains."""

import numpy as np

from coupling.analyses.vision.pictures import accuracies, rates


def test_rates(table):
    figure = rates(table, "excess K=10 p=2")
    assert len(figure.axes) == 4 * 2  # accuracy, excess and two measures of trajectories; two lengths
    assert [axes.get_title() for axes in figure.axes[:2]] == ["20 epochs", "80 epochs"]
    lines = figure.axes[2].lines
    assert len(lines) == 2 * 2  # depths and weight decays
    models = table[(table["epochs"] == 20) & (table["depth"] == 4) & (table["weight_decay"] == 0)]
    means = models.groupby("stochastic_depth")["excess K=10 p=2"].mean()
    assert np.allclose(lines[0].get_xydata(), np.column_stack([means.index, means]))
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == [
        "4 blocks, weight decay 0",
        "4 blocks, weight decay 0.5",
    ]


def test_rates_without_measures_of_trajectories(table):
    figure = rates(table.drop(columns=["line-shape score", "expodistance"]), "excess K=10 p=2")
    assert len(figure.axes) == 2 * 2


def test_accuracies(table):
    figure = accuracies(table, "excess K=10 p=2")
    assert len(figure.axes) == 2
    models, means = figure.axes[0].lines[:2]
    assert len(models.get_xdata()) == 3 * len(means.get_xdata()) == 24  # 8 configurations of 4 blocks
    line = figure.axes[0].lines[-1].get_xydata()
    of_length = (
        table[table["epochs"] == 20].groupby(["stochastic_depth", "weight_decay", "depth"]).mean(numeric_only=True)
    )
    slope, intercept = np.polyfit(of_length["excess K=10 p=2"], of_length["test_accuracy"], 1)
    assert np.allclose(line[:, 1], slope * line[:, 0] + intercept)
