"""Continuing a run: it ends as one that was never stopped, and runs that cannot be continued are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from coupling import CouplingError
from coupling.analyses.rl.config import EvaluationConfig, from_mapping
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


def test_a_resumed_run_evaluates_where_an_uninterrupted_one_does(configured):
    evaluation = {"every": 3, "count": 2, "samples": 2, "k": [1]}
    config = replace(configured(), evaluation=EvaluationConfig(**evaluation))
    whole = post_train(config, "whole")
    stopped_run(config, at=5)
    assert Path("out/trainer/checkpoint-4").exists()
    resumed = post_train(config, "out", resume=True)
    evaluated = [[row["step"] for row in rows if row.get("eval_reward") is not None] for rows in (whole, resumed)]
    assert evaluated == [[0, 3, 6], [0, 3, 6]]


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


class Code:
    """What a pickle of it does when it is read."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))

    def __repr__(self):
        return "Code()"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("optimizer.pt", Code(), "contains more than tensors, which can be code"),
        ("scheduler.pt", Code(), "contains more than tensors, which can be code"),
        ("rng_state.pth", Code(), "contains more than tensors, which can be code"),
        ("optimizer.pt", {"state": {}, "param_groups": []}, "ValueError: loaded state dict has a different number"),
        ("scheduler.pt", [1, 2], "AttributeError|TypeError"),
        ("rng_state.pth", {}, "KeyError"),
        ("model.safetensors", b"\2\0\0\0\0\0\0\0{}", "its weights lack 39 of the model's 39 tensors"),
    ],
    ids=str,
)
def test_a_checkpoint_with_other_content_is_one_line(configured, name, content, message):
    stopped_run(configured(), at=5)
    file = Path("out/trainer/checkpoint-4", name)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(
        CouplingError, match=rf"out/trainer/checkpoint-4 cannot be continued from .*{message}"
    ) as caught:
        post_train(configured(), "out", resume=True)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()
    shutil.rmtree(file.parent)
    assert post_train(configured(), "out", resume=True)[-1]["step"] == 6


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
    assert resumption(EARLIER_RUN, config, (0,), 2, dict).done == {0: None}
    assert can_continue(EARLIER_RUN)
    unfinished = Path(shutil.copytree(EARLIER_RUN, tmp_path / "run"))
    (unfinished / "run.json").write_text(json.dumps(summary | {"seeds_done": [], "finished": False}))
    assert not can_continue(unfinished)
    with pytest.raises(CouplingError, match="left no checkpoint to continue from"):
        resumption(unfinished, config, (0,), 2, dict)
    assert [row["step"] for row in post_train(config, EARLIER_RUN, resume=True)] == list(range(13))


def test_a_folder_without_a_run_cannot_be_continued(tmp_path):
    assert not can_continue(tmp_path)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_that_lacks_a_part_is_never_continued_from(configured, name):
    whole = post_train(configured(), "whole")
    stopped_run(configured(), at=5)
    Path("out/trainer/checkpoint-4", name).unlink()
    notes, seen = [], []
    rows = post_train(
        configured(), "out", resume=True, notify=notes.append, progress=lambda seed, done, *_: seen.append(done)
    )
    assert seen == [3, 4, 5, 6]  # from the checkpoint before it
    assert compared(rows) == compared(whole)
    assert len(notes) == 1
    assert "checkpoint-4 is not continued from, because it lacks the state of the" in notes[0]
    stopped_run(configured(), at=3, overwrite=True)
    Path("out/trainer/checkpoint-2", name).unlink()
    with pytest.raises(CouplingError, match=rf"left no checkpoint .*checkpoint-2 lacks the state of .*{name}"):
        post_train(configured(), "out", resume=True)


def test_a_table_that_lost_rows_is_noticed(configured):
    stopped_run(configured(), at=5)
    table = Path("out/table.csv")
    text = table.read_text()
    lines = text.splitlines(keepends=True)
    table.write_text("".join(lines[:3]))  # the header, and steps 0 and 1
    with pytest.raises(CouplingError, match=r"lacks 3 steps, the first of them 2, of seed 0, .*cut short or deleted"):
        post_train(configured(), "out", resume=True)
    table.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(CouplingError, match="lacks step 1 of seed 0"):
        post_train(configured(), "out", resume=True)
    table.write_text(text[:-4])
    with pytest.raises(CouplingError, match="its last line is cut short"):
        post_train(configured(), "out", resume=True)
    table.unlink()
    with pytest.raises(CouplingError, match="lacks 5 steps, the first of them 0, of seed 0"):
        post_train(configured(), "out", resume=True)
    table.write_text(text)
    assert len(post_train(configured(), "out", resume=True)) == 7
    table.unlink()
    with pytest.raises(CouplingError, match="lacks 7 steps"):
        post_train(configured(), "out", resume=True)


def test_a_run_is_not_continued_from_another_beginning(configured, small_model, tmp_path):
    model = Path(shutil.copytree(small_model, tmp_path / "model"))
    rows = Path("rows.jsonl")
    rows.write_text("".join(json.dumps({"prompt": "([{"[n % 3], "answer": ")]}"[n % 3]}) + "\n" for n in range(8)))
    config = replace(configured(), model=str(model), data=replace(configured().data, task=None, file=str(rows)))
    stopped_run(config, at=3)
    weights, text = (model / "model.safetensors").read_bytes(), rows.read_text()
    (model / "model.safetensors").write_bytes(weights[:-1] + b"x")
    with pytest.raises(CouplingError, match=r"^the model of the run in out has changed since it began, so"):
        post_train(config, "out", resume=True)
    rows.write_text(text.replace(")", "]"))
    with pytest.raises(CouplingError, match=r"^the model and the data of the run in out have changed"):
        post_train(config, "out", resume=True)
    (model / "model.safetensors").write_bytes(weights)
    rows.write_text(text)
    assert post_train(config, "out", resume=True)[-1]["step"] == 6


def test_a_run_that_was_being_replaced_is_begun_again(configured):
    Path("out").mkdir()
    Path("out/run.json").write_text('{"replacing": true}')
    with pytest.raises(CouplingError, match=r"was being replaced .*`overwrite=True`"):
        post_train(configured(max_steps=1), "out", resume=True)
    assert post_train(configured(max_steps=1), "out", overwrite=True)[-1]["step"] == 1


@pytest.mark.parametrize(
    "damage", [{"seeds_done": 3}, {"steps": []}, {"identity": "x"}, {"config": None}, {"seeds": 1}]
)
def test_a_damaged_record_is_one_line(configured, damage):
    stopped_run(configured(), at=3)
    summary = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps(summary | damage))
    with pytest.raises(CouplingError, match=r"out.run\.json is damaged: "):
        post_train(configured(), "out", resume=True)
    assert not can_continue(Path("out"))


def test_a_limit_on_the_time_of_rewards_may_be_given_for_the_rest(configured):
    stopped_run(configured(), at=5)
    assert post_train(replace(configured(), reward_timeout=60), "out", resume=True)[-1]["step"] == 6
