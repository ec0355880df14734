"""Saved runs of ``coupling rl``: what they say of themselves, and damaged ones."""

import pytest

from coupling.analyses.rl.saved_run import is_rl_run, only_rl_runs, read_rl_run
from coupling.errors import CouplingError
from tests.saved_rl import CONFIG, write_rl_run


def test_a_finished_run(tmp_path):
    run = read_rl_run(write_rl_run(tmp_path / "a"))
    assert run.described() == "p3o on task brackets, a small model, seeds 0, 1, 4 steps, finished"
    assert (run.name, run.steps, run.asked_steps, run.seeds) == ("a", 4, 4, (0, 1))
    assert len(run.rows) == 10
    assert "reward" not in run.rows[0]
    assert run.rows[1]["reward"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finished": False}, "4 steps, unfinished"),
        ({"finished": False, "error": "the loss is nan"}, "stopped: the loss is nan"),
        ({"config": CONFIG | {"trainer": {"max_steps": 9}}}, "4 of 9 steps"),
        ({"config": CONFIG | {"lora": {"r": 4}}}, "with an adapter (LoRA)"),
        ({"config": CONFIG | {"model": "org/m", "data": {"dataset": "org/d"}}}, "p3o on org/d, org/m, seeds"),
        ({"config": None, "checkpoints": "trained", "seeds": None}, "checkpoints in trained, 5 steps measured"),
    ],
)
def test_what_a_run_says_of_itself(tmp_path, changes, said):
    assert said in read_rl_run(write_rl_run(tmp_path / "a", **changes)).described()


def test_runs_are_told_from_other_folders(tmp_path):
    folder = write_rl_run(tmp_path / "a")
    assert is_rl_run(folder)
    assert not is_rl_run(tmp_path)
    assert only_rl_runs([folder, folder])
    assert not only_rl_runs([tmp_path])
    with pytest.raises(CouplingError, match=r"a is a run of coupling rl, and .* is not; give runs of one sort"):
        only_rl_runs([folder, tmp_path])
    with pytest.raises(CouplingError, match=r"contains no run of coupling rl: there is no table\.csv"):
        read_rl_run(tmp_path)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("run,seed,step\n", "contains no steps yet"),
        ("run,seed\np3o,0\n", "cannot be read as a table of coupling rl"),
        ("run,seed,step,reward\np3o,0,x,1\n", "cannot be read as a table of coupling rl"),
        ("run,seed,step,reward\np3o,0,1\n", "a line does not have the columns of the first line"),
        ("run,seed,step,reward\np3o,0,1,text\n", "cannot be read as a table of coupling rl"),
    ],
)
def test_damaged_tables(tmp_path, table, problem):
    folder = write_rl_run(tmp_path / "a")
    (folder / "table.csv").write_text(table)
    with pytest.raises(CouplingError, match=problem):
        read_rl_run(folder)
    (folder / "run.json").write_text('{"replacing": true}')
    with pytest.raises(CouplingError, match="was being replaced"):
        read_rl_run(folder)
