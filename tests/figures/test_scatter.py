"""The picture scatter: its line against SciPy's, its groups, and its labels."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress

from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.scatter import fit_first_group, fit_line


def test_scatter_fits_and_names_the_points():
    rng = np.random.default_rng(0)
    score = rng.normal(0.9, 0.01, 28)
    frame = pd.DataFrame(
        {
            "model": [f"organization/model-{index}-with-a-name" for index in range(28)],
            "score": score,
            "benchmark": 50 + 900 * (score - 0.9) + rng.normal(0, 4, 28),
        }
    )
    figure = figures.scatter(frame)
    fit = linregress(frame.score, frame.benchmark)
    words = figure.legends[0].get_texts()[0].get_text()
    assert f"R² = {fit.rvalue**2:.3f}" in words
    assert f"p = {fit.pvalue:.2g}" in words
    axes = figure.axes[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) >= 24  # a name is left out only where no place is free
    inside, points = axes.get_window_extent(), axes.transData.transform(frame[["score", "benchmark"]])
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1 + 1
        assert not any(box.contains(*point) for point in points)
    assert all(text.get_text().startswith("model-") for text in axes.texts)
    with_gap = pd.concat([frame, pd.DataFrame({"model": ["unscored"], "score": [0.9], "benchmark": [np.nan]})])
    assert "n = 28" in figures.scatter(with_gap).legends[0].get_texts()[0].get_text()


def test_scatter_keeps_groups_apart_and_fits_the_first():
    frame = pd.DataFrame(
        {
            "model": list("abcde"),
            "score": [1, 2, 3, 1, 2],
            "benchmark": [1, 2, 3.5, 9, 9],
            "group": ["published"] * 3 + ["measured"] * 2,
        }
    )
    figure = figures.scatter(frame)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[:2] == ["published", "measured"]
    assert "of published" in words[2]
    assert "n = 3" in words[2]
    rows, fit, _ = fit_first_group(frame)
    assert rows["model"].tolist() == ["a", "b", "c"]
    assert fit.slope == pytest.approx(1.25)


def test_a_line_needs_three_points_that_differ():
    assert fit_line(np.array([0.0, 1.0]), np.array([0.0, 1.0])) is None
    assert fit_line(np.zeros(3), np.arange(3.0)) is None
    assert fit_line(np.arange(3.0), np.zeros(3)) is None


def test_a_table_without_a_complete_row_is_refused():
    frame = pd.DataFrame({"model": ["a"], "score": [1.0], "benchmark": [np.nan]})
    with pytest.raises(CouplingError, match="contains both a score and a benchmark"):
        figures.scatter(frame)


def test_the_score_against_the_width_with_the_chance_curve():
    frame = pd.DataFrame(
        {"model": list("abc"), "score": [0.91, 0.95, 0.93], "benchmark": [1, 2, 3], "width": [1000, 4000, 2000]}
    ).assign(chance=lambda table: 1 - np.sqrt(10 / table["width"]))
    axes = figures.scatter(frame, against="width", labels=False).axes[0]
    points, curve = axes.lines
    assert points.get_xydata().tolist() == [[1000, 0.91], [4000, 0.95], [2000, 0.93]]
    assert curve.get_xydata() == pytest.approx(np.array([[d, 1 - (10 / d) ** 0.5] for d in (1000, 2000, 4000)]))
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "width d", "coupling 1 − m")
    without = figures.scatter(frame.drop(columns="chance"), against="width", labels=False)
    assert len(without.axes[0].lines) == 1
    with pytest.raises(CouplingError, match="no column width with numbers"):
        figures.scatter(frame.drop(columns="width"), against="width")
