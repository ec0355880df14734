"""Continuing a run: it ends as one that was never stopped, and runs that cannot be continued are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.resume import can_continue, resumption

EARLIER_RUN = Path(__file__).parents[2] / "fixtures" / "runs" / "0.1.0-rl"
REWARD = """
from pathlib import Path

def stops(completions, answer, trainer_state, **_):
    stop = Path("stop")
    if stop.exists() and trainer_state.global_step == int(stop.read_text()):
        raise KeyError("stopped")
    return [float(text.startswith(right[:1])) for text, right in zip(completions, answer)]
"""


@pytest.fixture
def configured(small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stopping.py").write_text(REWARD)

    def config(**trainer):
        settings = {
            "max_steps": 6,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "save_steps": 2,
            "max_completion_length": 4,
            "learning_rate": 1e-3,
            "save_strategy": "steps",
        } | trainer
        return from_mapping(
            {
                "model": str(small_model),
                "objective": "p3o",
                "data": {"task": "brackets"},
                "reward": "stopping:stops",
                "probe": {"every": 3, "k": 4, "count": 2},
                "trainer": settings,
            }
        )

    return config


def stopped_run(config, at, **options):
    Path("stop").write_text(str(at))
    with pytest.raises(CouplingError, match="stopped"):
        post_train(config, "out", **options)
    Path("stop").unlink()


def compared(rows):
    names = ("seed", "step", "reward", "loss", "grad_norm", "score", "excess", "mismatch_to_initial", "ess")
    return [{name: row[name] for name in names if row.get(name) is not None} for row in rows]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(configured):
    whole = post_train(configured(), "whole")
    stopped_run(configured(), at=5)
    assert pd.read_csv("out/table.csv").step.max() == 5
    rows = post_train(configured(), "out", resume=True)
    assert len(compared(rows)) == 7
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert json.loads(Path("out/run.json").read_text())["finished"] is True
    table = pd.read_csv("out/table.csv")
    assert table.step.tolist() == list(range(7))
    assert compared(post_train(configured(), "out", resume=True)) == compared(rows)  # nothing is left to do


def test_a_run_stopped_after_its_last_step_only_saves(configured, monkeypatch):
    config = replace(configured(save_steps=3), save=True)
    whole = post_train(config, "whole")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("coupling.rl.CouplingCallback.on_train_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            post_train(config, "out")
    assert Path("out/trainer/checkpoint-6").exists()
    assert not Path("out/model").exists()
    rows = post_train(config, "out", resume=True)
    assert [row["step"] for row in rows] == list(range(7))
    assert compared(rows) == compared(whole)
    models = [Path(folder, "model/model.safetensors").read_bytes() for folder in ("whole", "out")]
    assert models[0] == models[1]


def test_a_run_continues_only_where_rollouts_are_generated(configured):
    config = configured(num_iterations=2, save_steps=1)
    whole = post_train(config, "whole")
    stopped_run(config, at=4)  # after steps 1 to 4; checkpoints 1 and 3 have lost their rollouts
    shutil.rmtree("out/trainer/checkpoint-4")
    rows = post_train(config, "out", resume=True)
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    stopped_run(configured(num_iterations=2, save_steps=3), at=4, overwrite=True)
    with pytest.raises(CouplingError, match="at a step where rollouts are generated, which is every 2 steps"):
        post_train(configured(num_iterations=2, save_steps=3), "out", resume=True)


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json", "model.safetensors", "rng_state.pth"])
def test_a_truncated_checkpoint_is_passed_over(configured, name):
    stopped_run(configured(), at=5)
    file = Path("out/trainer/checkpoint-4", name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen = []
    post_train(configured(), "out", resume=True, progress=lambda seed, done, *_: seen.append(done))
    assert seen == [3, 4, 5, 6]


def test_a_number_in_another_notation_is_the_same_setting(configured):
    stopped_run(configured(learning_rate="1e-3"), at=5)
    assert post_train(configured(learning_rate=0.001), "out", resume=True)[-1]["step"] == 6


def test_finished_seeds_are_not_run_again(configured):
    config = configured(save_strategy="no", max_steps=3)
    whole = post_train(config, "whole", seeds=(4, 5))
    state = {"left": 4}  # the second seed's first step

    class StoppedError(Exception):
        pass

    def progress(seed, done, total, row):
        state["left"] -= 1
        if state["left"] == 0:
            raise StoppedError

    with pytest.raises(StoppedError):
        post_train(config, "out", seeds=(4, 5), progress=progress)
    assert json.loads(Path("out/run.json").read_text())["seeds_done"] == [4]
    seen = []
    rows = post_train(config, "out", seeds=(4, 5), resume=True, progress=lambda seed, *_: seen.append(seed))
    assert set(seen) == {5}
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_runs_that_cannot_be_continued(configured):
    with pytest.raises(CouplingError, match=r"contains no run of coupling rl"):
        post_train(configured(), "out", resume=True)
    stopped_run(configured(), at=1)
    with pytest.raises(CouplingError, match=r"left no checkpoint .*`overwrite=True`"):
        post_train(configured(), "out", resume=True)
    stopped_run(configured(), at=3, overwrite=True)
    with pytest.raises(CouplingError, match=r"differs in trainer.max_steps \(trainer.max_steps was 6, and is 8 now\)"):
        post_train(configured(max_steps=8), "out", resume=True)
    only_model = configured(save_only_model=True)
    stopped_run(only_model, at=3, overwrite=True)
    with pytest.raises(CouplingError, match="contain no optimizer"):
        post_train(only_model, "out", resume=True)
    stopped_run(configured(), at=3, overwrite=True)
    (Path("out/trainer/checkpoint-2/trainer_state.json")).unlink()  # its writing was interrupted
    with pytest.raises(CouplingError, match="left no checkpoint"):
        post_train(configured(), "out", resume=True)


def test_a_run_of_the_previous_version_is_understood(tmp_path):
    summary = json.loads((EARLIER_RUN / "run.json").read_text())
    config = from_mapping(summary["config"])
    assert resumption(EARLIER_RUN, config, (0,), 2).done == (0,)
    assert can_continue(EARLIER_RUN)
    unfinished = Path(shutil.copytree(EARLIER_RUN, tmp_path / "run"))
    (unfinished / "run.json").write_text(json.dumps(summary | {"seeds_done": [], "finished": False}))
    assert not can_continue(unfinished)
    with pytest.raises(CouplingError, match="left no checkpoint to continue from"):
        resumption(unfinished, config, (0,), 2)
    assert [row["step"] for row in post_train(config, EARLIER_RUN, resume=True)] == list(range(13))


def test_a_folder_without_a_run_cannot_be_continued(tmp_path):
    assert not can_continue(tmp_path)
