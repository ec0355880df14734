"""Going on with a run of RL: it ends as one that was never stopped, and what cannot be gone on with is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.post_training import run
from coupling.analyses.rl.warm_start import warm_start

REWARD = """
from pathlib import Path

def stops(completions, answer, trainer_state, **_):
    stop = Path("stop")
    if stop.exists() and trainer_state.global_step == int(stop.read_text()):
        raise KeyError("stopped")
    return [float(text.startswith(right[:1])) for text, right in zip(completions, answer)]
"""


@pytest.fixture
def configured(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stopping.py").write_text(REWARD)
    model = str(warm_start("brackets", steps=5, cache=tmp_path_factory.getbasetemp() / "cache"))

    def config(**trainer):
        settings = {"max_steps": 6, "per_device_train_batch_size": 8, "num_generations": 4, "save_steps": 2,
                    "max_completion_length": 4, "learning_rate": 1e-3, "save_strategy": "steps"} | trainer  # fmt: skip
        return from_mapping({
            "model": model, "objective": "p3o", "data": {"task": "brackets"}, "reward": "stopping:stops",
            "probe": {"every": 3, "k": 4, "count": 2}, "trainer": settings,
        })  # fmt: skip

    return config


def stopped_run(config, at, **options):
    Path("stop").write_text(str(at))
    with pytest.raises(CouplingError, match="stopped"):
        run(config, "out", **options)
    Path("stop").unlink()


def compared(rows):
    names = ("seed", "step", "reward", "loss", "grad_norm", "score", "excess", "mismatch_to_initial", "ess")
    return [{name: row[name] for name in names if row.get(name) is not None} for row in rows]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(configured):
    whole = run(configured(), "whole")
    stopped_run(configured(), at=5)
    assert pd.read_csv("out/table.csv").step.max() == 5
    rows = run(configured(), "out", resume=True)
    assert len(compared(rows)) == 7
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert json.loads(Path("out/run.json").read_text())["finished"] is True
    table = pd.read_csv("out/table.csv")
    assert table.step.tolist() == list(range(7))
    assert compared(run(configured(), "out", resume=True)) == compared(rows)  # nothing is left to do


def test_a_run_stopped_after_its_last_step_only_saves(configured, monkeypatch):
    config = replace(configured(save_steps=3), save=True)
    whole = run(config, "whole")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("coupling.rl.CouplingCallback.on_train_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, "out")
    assert Path("out/trainer/checkpoint-6").exists()
    assert not Path("out/model").exists()
    rows = run(config, "out", resume=True)
    assert [row["step"] for row in rows] == list(range(7))
    assert compared(rows) == compared(whole)
    models = [Path(folder, "model/model.safetensors").read_bytes() for folder in ("whole", "out")]
    assert models[0] == models[1]


def test_it_goes_on_only_where_rollouts_are_made_anew(configured):
    config = configured(num_iterations=2, save_steps=1)
    whole = run(config, "whole")
    stopped_run(config, at=4)  # after steps 1 to 4; checkpoints 1 and 3 have no rollouts left to go on with
    shutil.rmtree("out/trainer/checkpoint-4")
    rows = run(config, "out", resume=True)
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    stopped_run(configured(num_iterations=2, save_steps=3), at=4, overwrite=True)
    with pytest.raises(CouplingError, match="where rollouts are made anew, every 2 steps"):
        run(configured(num_iterations=2, save_steps=3), "out", resume=True)


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json", "model.safetensors", "rng_state.pth"])
def test_a_checkpoint_that_was_cut_short_is_passed_over(configured, name):
    stopped_run(configured(), at=5)
    file = Path("out/trainer/checkpoint-4", name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen = []
    run(configured(), "out", resume=True, progress=lambda seed, done, *_: seen.append(done))
    assert seen == [3, 4, 5, 6]


def test_a_number_written_otherwise_is_the_same_setting(configured):
    stopped_run(configured(learning_rate="1e-3"), at=5)
    assert run(configured(learning_rate=0.001), "out", resume=True)[-1]["step"] == 6


def test_seeds_that_are_done_are_not_run_again(configured):
    config = configured(save_strategy="no", max_steps=3)
    whole = run(config, "whole", seeds=(4, 5))
    state = {"left": 4}  # the second seed's first step

    class StoppedError(Exception):
        pass

    def progress(seed, done, total, row):
        state["left"] -= 1
        if state["left"] == 0:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(config, "out", seeds=(4, 5), progress=progress)
    assert json.loads(Path("out/run.json").read_text())["seeds_done"] == [4]
    seen = []
    rows = run(config, "out", seeds=(4, 5), resume=True, progress=lambda seed, *_: seen.append(seed))
    assert set(seen) == {5}
    for row, expected in zip(compared(rows), compared(whole), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_what_cannot_be_gone_on_with(configured):
    with pytest.raises(CouplingError, match=r"holds no run of coupling rl"):
        run(configured(), "out", resume=True)
    stopped_run(configured(), at=1)
    with pytest.raises(CouplingError, match=r"left no checkpoint .* --overwrite"):
        run(configured(), "out", resume=True)
    stopped_run(configured(), at=3, overwrite=True)
    with pytest.raises(CouplingError, match=r"differs in trainer.max_steps .*6 there, 8 now"):
        run(configured(max_steps=8), "out", resume=True)
    only_model = configured(save_only_model=True)
    stopped_run(only_model, at=3, overwrite=True)
    with pytest.raises(CouplingError, match="hold no optimizer"):
        run(only_model, "out", resume=True)
    stopped_run(configured(), at=3, overwrite=True)
    (Path("out/trainer/checkpoint-2/trainer_state.json")).unlink()  # its writing was interrupted
    with pytest.raises(CouplingError, match="left no checkpoint"):
        run(configured(), "out", resume=True)
