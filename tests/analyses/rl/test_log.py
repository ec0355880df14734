"""The table of a run."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from coupling import CouplingError
from coupling.analyses.rl.log import COLUMNS, Recorder, RunTable, columns_of
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
    for damaged in (
        "seed,step\n0,first\n",
        "run,seed,step\np3o,0\n",
        "run,seed,step\np3o,0,1",
        "run,seed,step\np,0,1,2\n",
    ):
        (tmp_path / "table.csv").write_text(damaged)
        with pytest.raises(CouplingError, match="cannot read the table"):
            RunTable(tmp_path / "table.csv", "p3o").read(lambda *_: True)


def test_names_of_earlier_versions_are_understood(tmp_path):
    assert columns_of({"p3o/kl_behaviour": 0.1}, 5) == columns_of({"p3o/kl_behavior": 0.1}, 5) == {"kl": 0.1}
    assert columns_of({"p3o/approx_kl": 0.1}, 5) == {"p3o/kl_from_behavior": 0.1}
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


def test_the_fixture_is_a_run_of_the_previous_version():
    summary = json.loads((EARLIER_RUN / "run.json").read_text())
    assert "diverged" not in summary
    assert summary["environment"]["block-coupling"] == "0.1.0"
