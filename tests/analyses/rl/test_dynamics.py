"""Runs of ``coupling rl`` in the table of training dynamics."""

import pandas as pd
import pytest

from coupling.analyses.dynamics import dynamics_table
from coupling.analyses.rl.dynamics import dynamics_rows
from coupling.analyses.rl.saved_run import read_rl_run
from coupling.errors import CouplingError
from coupling.figures import dynamics
from tests.saved_rl import write_rl_run


def test_every_k_and_p_that_was_logged(tmp_path):
    rows = pd.DataFrame(dynamics_rows(read_rl_run(write_rl_run(tmp_path / "a"))))
    assert len(rows) == 2 * 3 * 3  # seeds, measured steps, and K = 5 at both p and 10% at one
    first = rows[(rows["k_label"] == "5") & (rows["norm"] == 2)]
    assert first["step"].tolist() == [0, 2, 4, 0, 2, 4]
    assert first["excess"].tolist() == pytest.approx([0.08, 0.10, 0.12, 0.081, 0.101, 0.121])
    assert set(rows.loc[rows["k_label"] == "10%", "k"]) == {12}
    assert set(rows.loc[rows["k_label"] == "5", "diagonal_share"]) == {0.25}
    assert set(rows.loc[rows["norm"] == 1, "score"]) == {0.6}


def test_the_picture_of_dynamics_is_drawn_from_a_run(tmp_path, study):
    run = write_rl_run(tmp_path / "mine")
    table = dynamics_table([run])
    figure = dynamics(table, k=5)
    assert figure.axes[0].get_ylabel().startswith("excess")
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([0.0805, 0.1005, 0.1205])  # the mean of both seeds
    both = dynamics_table([run, study])
    assert set(both["model"]) == {"mine", "small"}
    with pytest.raises(CouplingError, match="no numbers of single prompts"):
        dynamics_table([run], by_prompt=True)


def test_a_run_without_a_probe(tmp_path):
    folder = write_rl_run(tmp_path / "a")
    (folder / "table.csv").write_text("run,seed,step,reward\np3o,0,1,0.5\n")
    with pytest.raises(CouplingError, match="measured coupling at no step; give its configuration a probe"):
        dynamics_table([folder])
