"""What results say: areas by NumPy, means, and tables that follow from the files alone."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.studies.resumable import write_result
from coupling.analyses.studies.smollm2_rl.design import planned
from coupling.analyses.studies.smollm2_rl.picture import draw
from coupling.analyses.studies.smollm2_rl.results import by_run, read_curves, write_results

CHANCES = [0.2, 0.25, 0.1, 0.4]


@pytest.fixture
def results(tmp_path):
    """Results of three runs, of which the second has made four updates only, and the third none."""
    out = tmp_path / "rows"
    out.mkdir()
    for plan, n in zip(planned(), (4, 2, 1), strict=False):
        columns = {"step": [0.0, 4.0, 8.0, 12.0][:n], "held_out_reward": CHANCES[:n]}
        columns |= {name: [None, 0.5, 0.75, 1.0][:n] for name in ("ess", "kl", "entropy")}
        columns |= {name: [0.1, None, None, 0.3][:n] for name in ("score", "excess", "mismatch_to_initial")}
        labels = {"objective": plan.objective.name, "seed": plan.seed, "ended": "at update 4", "seconds": 9.0}
        write_result(plan, out, labels | {"device": "CPU", "columns": columns})
    return out


def test_one_row_per_run(results):
    runs = by_run(read_curves(planned(), results))
    assert runs["updates"].tolist() == [12, 4, 0]
    assert runs["area"].tolist() == pytest.approx([np.trapezoid(CHANCES, dx=4) / 12, 0.225, 0.2])
    assert runs["end"].tolist() == [0.4, 0.25, 0.2]
    assert runs["ess"].tolist()[:2] == [0.75, 0.5]
    assert runs["score_start"].tolist() == [0.1] * 3
    assert runs["score_end"].iloc[0] == 0.3
    assert np.isnan(runs["score_end"].iloc[1])


def test_table_and_picture_follow_from_the_files(results, tmp_path):
    assert write_results(planned(), results).startswith("16 of 96 planned updates are made\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "smollm2-rl.csv", "smollm2-rl.png"]
    assert len(pd.read_csv(tmp_path / "smollm2-rl.csv")) == 3
    empty = tmp_path / "empty" / "rows"
    empty.mkdir(parents=True)
    assert write_results(planned(), empty) == "0 of 96 planned updates are made"


def test_the_picture_has_a_line_per_run_with_the_objective_s_color(results):
    (axes,) = draw(read_curves(planned(), results)).axes
    assert [line.get_label() for line in axes.lines] == ["P3O, batch, seed 200", "DAPO 0.2, seed 200", "P3O, batch, seed 201"]
    colors = [line.get_color() for line in axes.lines]
    assert colors[0] == colors[2] != colors[1]
    assert axes.lines[0].get_linestyle() != axes.lines[2].get_linestyle()
