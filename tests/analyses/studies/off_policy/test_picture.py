"""The picture of the study has one panel per condition and one line per objective."""

import pandas as pd

from coupling.analyses.studies.off_policy.picture import draw


def test_panels_lines_and_bands():
    rows = [
        {"condition": condition, "objective": objective, "seed": seed, "step": step, "held_out_reward": 0.1 * seed}
        for condition in ("4 bits", "16 old")
        for objective in ("P3O, batch", "DAPO 0.2", "DAPO 0.4")
        for seed in (1, 2)
        for step in (0, 10)
    ]
    figure = draw(pd.DataFrame(rows))
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == ["4 bits", "16 old"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["P3O, batch", "DAPO 0.2", "DAPO 0.4"]
        assert len(axes.collections) == 3
        assert list(axes.lines[0].get_ydata()) == [0.15000000000000002] * 2
