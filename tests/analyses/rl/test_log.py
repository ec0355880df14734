"""The table of a run and its folder."""

import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from coupling import CouplingError
from coupling.analyses.rl.log import COLUMNS, Recorder, RunTable, columns_of, prepare_folder
from coupling.errors import DivergedError
from coupling.figures import rl
from coupling.figures.columns import read_table

EARLIER_RUN = Path(__file__).parents[2] / "fixtures" / "runs" / "0.1.0-rl"


def test_each_logged_value_goes_to_its_column(tmp_path):
    logs = {
        "p3o/ess": 0.9,
        "p3o/kl_behavior": 0.1,
        "coupling/score_k5_p2": 0.2,
        "coupling/chance_k5_p2": 0.1,
        "coupling/excess_k5_p2": 0.05,
        "coupling/score_k10_p2": 0.3,
        "coupling/mismatch_to_initial": 0.4,
        "kl": 2.0,
        "clip_ratio/low_mean": 0.2,
        "epoch": 1.0,
        "reward": None,
    }
    row = columns_of(logs, 5)
    assert row == {
        "ess": 0.9,
        "kl": 0.1,
        "score": 0.2,
        "chance": 0.1,
        "excess": 0.05,
        "coupling/score_k10_p2": 0.3,
        "mismatch_to_initial": 0.4,
        "kl_reference": 2.0,
        "clip_ratio/low_mean": 0.2,
    }
    table = RunTable(tmp_path / "table.csv", "p3o")
    table.update(0, 1, {"reward": 0.5})
    table.update(0, 0, row)
    table.write()
    read = read_table(tmp_path / "table.csv", "rl")
    assert read.step.tolist() == [0, 1]
    assert read.reward.isna().tolist() == [True, False]


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = RunTable(tmp_path / "table.csv", "p3o")
    for seed, step in ((1, 2), (0, 1), (0, 2)):
        table.update(seed, step, {"reward": step / 3, "p3o/ratio_max": 1.5})
    table.write()
    again = RunTable(tmp_path / "table.csv", "p3o")
    again.read(lambda seed, step: (seed, step) != (0, 2))
    assert again.rows() == [row for row in table.rows() if (row["seed"], row["step"]) != (0, 2)]
    assert [row["step"] for row in again.rows(seed=1)] == [2]
    assert again.columns == [*COLUMNS, "p3o/ratio_max"]
    (tmp_path / "table.csv").write_text("seed,step\n0,first\n")
    with pytest.raises(CouplingError, match="cannot read the table"):
        RunTable(tmp_path / "table.csv", "p3o").read(lambda *_: True)


def test_names_of_earlier_versions_are_understood(tmp_path):
    assert columns_of({"p3o/kl_behaviour": 0.1}, 5) == columns_of({"p3o/kl_behavior": 0.1}, 5) == {"kl": 0.1}
    (tmp_path / "table.csv").write_text("run,seed,step,kl,p3o/kl_behaviour\np3o,0,1,,0.25\n")
    table = RunTable(tmp_path / "table.csv", "p3o")
    table.read(lambda *_: True)
    assert table.rows() == [{"run": "p3o", "seed": 0, "step": 1, "p3o/kl_behavior": 0.25}]
    table.write()
    assert "behaviour" not in (tmp_path / "table.csv").read_text()


def test_a_table_of_the_previous_version_opens():
    table = RunTable(EARLIER_RUN / "table.csv", "p3o")
    table.read(lambda *_: True)
    rows = table.rows()
    assert [row["step"] for row in rows] == list(range(13))
    assert rows[1]["reward"] == 0.3515625
    assert [row["step"] for row in rows if "score" in row] == [0, 12]
    rl(read_table(EARLIER_RUN / "table.csv", "rl"))


@pytest.mark.parametrize("fp16", [False, True])
def test_a_step_that_fp16_skips_is_not_a_divergence(fp16):
    args, state = SimpleNamespace(fp16=fp16), SimpleNamespace(global_step=2, max_steps=3)
    recorder = Recorder(RunTable(None, "p3o"), 0, 10)
    logs = {"loss": 0.1, "reward": 0.5, "grad_norm": math.inf}
    with nullcontext() if fp16 else pytest.raises(DivergedError, match="gradient's norm is inf"):
        recorder.on_log(args, state, None, logs=logs)
    for name, words in (("loss", "the loss"), ("reward", "the mean reward")):
        with pytest.raises(DivergedError, match=f"step 2: the model diverged: {words} is nan"):
            recorder.on_log(args, state, None, logs=logs | {"grad_norm": 1.0, name: math.nan})
    assert recorder.table.rows()[0]["reward"] is math.nan


def test_progress_is_told_of_steps_with_a_loss():
    steps = []
    recorder = Recorder(RunTable(None, "p3o"), 0, 10, lambda *arguments: steps.append(arguments))
    state = SimpleNamespace(global_step=2, max_steps=3)
    for logs in ({"coupling/score_k10_p2": 0.1}, {"loss": 0.5}, {"epoch": 1.0}, None):
        recorder.on_log(SimpleNamespace(), state, None, logs=logs)
    assert steps == [(2, 3, {"run": "p3o", "seed": 0, "step": 2, "score": 0.1, "loss": 0.5})]


def earlier_run(folder: Path, *, table: bool = True, checkpoint: bool = True) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text('{"config": {}, "seeds": [0]}')
    if table:
        (folder / "table.csv").write_text("step\n")
    if checkpoint:
        (folder / "trainer" / "checkpoint-1").mkdir(parents=True)
    return folder


def test_a_run_is_replaced_when_asked_for(tmp_path):
    folder = earlier_run(tmp_path / "run")
    with pytest.raises(CouplingError, match=r"already contains a run; .*`overwrite=True`"):
        prepare_folder(folder, overwrite=False)
    assert (folder / "trainer" / "checkpoint-1").exists()
    prepare_folder(folder, overwrite=True)
    assert list(folder.iterdir()) == []
    prepare_folder(tmp_path / "new" / "deep", overwrite=False)
    assert (tmp_path / "new" / "deep").is_dir()


def test_a_run_of_the_previous_version_is_recognized(tmp_path):
    folder = Path(shutil.copytree(EARLIER_RUN, tmp_path / "run"))
    with pytest.raises(CouplingError, match="already contains a run"):
        prepare_folder(folder, overwrite=False)
    prepare_folder(folder, overwrite=True)
    assert list(folder.iterdir()) == []


def test_a_run_that_failed_before_its_first_step_is_not_in_the_way(tmp_path):
    folder = earlier_run(tmp_path / "run", table=False, checkpoint=False)
    (folder / "trainer").mkdir()
    prepare_folder(folder, overwrite=False)
    assert not (folder / "run.json").exists()


def test_checkpoints_of_another_kind_of_run_are_never_removed(tmp_path):
    folder = earlier_run(tmp_path / "run")
    with pytest.raises(CouplingError, match="contains trainer/ of another run, which would be lost"):
        prepare_folder(folder, overwrite=True, replaced=())
    assert (folder / "table.csv").exists()
    assert (folder / "trainer" / "checkpoint-1").exists()


def test_folders_of_others_are_left_alone(tmp_path):
    kept = tmp_path / "model" / "weights.bin"
    kept.parent.mkdir()
    kept.write_text("x")
    for summary in ("{}", "not JSON", '{"config": {}, "seeds": []}'):
        (tmp_path / "run.json").write_text(summary)
        with pytest.raises(CouplingError, match="contains"):
            prepare_folder(tmp_path, overwrite=False)
        assert kept.exists()
    with pytest.raises(CouplingError, match="would be lost"):
        prepare_folder(tmp_path, overwrite=True, replaced=())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CouplingError, match="contains other files and no run"):
        prepare_folder(tmp_path, overwrite=True)
    assert kept.exists()
    with pytest.raises(CouplingError, match="is a file"):
        prepare_folder(kept, overwrite=True)


def test_the_fixture_is_a_run_of_the_previous_version():
    summary = json.loads((EARLIER_RUN / "run.json").read_text())
    assert "diverged" not in summary
    assert summary["environment"]["block-coupling"] == "0.1.0"
