"""The report's trajectory as a specification; test_browser draws it."""

import numpy as np

from coupling.figures.page.contents import MEAN
from coupling.figures.page.trajectory import trajectory_chart
from coupling.figures.trajectory import paths_of, principal_components


def test_rows_are_the_paths_of_tokens(run):
    rows = trajectory_chart(run, [MEAN, 0, 1]).specification()["datasets"]["rows"]
    assert {row["t"] for row in rows} == {0, 1}
    points, shares = principal_components(paths_of(run, 1).stream)
    second = [row for row in rows if row["t"] == 1]
    assert len(second) == int(run.n_tokens[1])
    assert np.allclose(second[3]["x"], points[3, :, 0], rtol=1e-3)
    assert second[0]["layer"] == list(range(9))
    assert f"{100 * shares[0]:.0f}%" in second[0]["note"]


def test_prompts_without_residual_streams_are_left_out(run):
    assert trajectory_chart(run.drop_vars("residual_stream"), [0]) is None
    rows = trajectory_chart(run.isel(detailed_prompt=[2]), [0, 1, 2]).specification()["datasets"]["rows"]
    assert {row["t"] for row in rows} == {2}
