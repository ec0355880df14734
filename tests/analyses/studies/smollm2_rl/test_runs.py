"""One run: how it is configured, when its result is written, and how it is continued."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.rl.config import TASK_MODEL
from coupling.analyses.rl.rewards import find_reward
from coupling.analyses.studies.resumable import read_result
from coupling.analyses.studies.smollm2_rl import runs
from coupling.analyses.studies.smollm2_rl.design import EXAMPLES, HELD_OUT, STEPS, planned
from coupling.analyses.studies.smollm2_rl.runs import held_out, is_finished, prompts_file, run, run_config
from coupling.errors import DivergedError

P3O, DAPO = planned()[:2]


def table(steps: int) -> pd.DataFrame:
    content = pd.DataFrame({"step": np.arange(steps + 1.0), "ess": 0.5, "kl": 0.1, "entropy": 1.0, "reward": 0.25})
    content["held_out_reward"] = (content["step"] / 100).where(content["step"] % 4 == 0)
    return content


@pytest.fixture
def post_train(monkeypatch):
    """The options that ``post_train`` was called with; it makes updates up to ``stop``, and then is interrupted."""

    class Calls(list):
        stop: int | None = None
        diverges = False

    calls = Calls()

    def pretended(config, folder, *, progress, **options):
        calls.append(options)
        Path(folder).mkdir(exist_ok=True)
        for step in range(1, STEPS + 1):
            table(step).to_csv(Path(folder) / "table.csv", index=False)
            if step == calls.stop and calls.diverges:
                raise DivergedError(f"step {step}: the loss is nan; see {folder}/table.csv")
            if step == calls.stop:
                raise KeyboardInterrupt
            progress(config.seed, step, STEPS, {})

    monkeypatch.setattr(runs, "post_train", pretended)
    monkeypatch.setattr(runs, "converted", lambda work: work / "model")
    return calls


def test_the_configuration_is_that_of_the_design(tmp_path):
    config = run_config(P3O, tmp_path / "model", tmp_path / "prompts.jsonl")
    assert (config.objective, config.trainer["ess_scope"], config.trainer["max_steps"]) == ("p3o", "batch", STEPS)
    assert config.model != TASK_MODEL
    assert config.lora is not None
    assert not {"use_cpu", "bf16", "fp16"} & set(config.trainer)  # the machine's accelerator is used if there is one
    other = run_config(DAPO, tmp_path / "model", tmp_path / "prompts.jsonl")
    assert (other.objective, other.trainer["epsilon"]) == ("dapo", 0.2)


def test_prompts_are_sums_with_right_answers_and_those_held_out_are_others(tmp_path):
    rows = [json.loads(line) for line in prompts_file(P3O, tmp_path).read_text().splitlines()]
    assert len(rows) == 4096
    for row in rows[:50]:
        question = row["prompt"].removeprefix(EXAMPLES).removesuffix(" =")
        assert eval(question) == int(row["answer"])
    chosen = held_out()
    assert len(chosen.prompts) == len(chosen.answers) == HELD_OUT
    assert chosen.prompts != [row["prompt"] for row in rows[:HELD_OUT]]
    reward = find_reward("number")
    assert reward([" 41\n", " 41", " 411", "\n"], ["41"] * 4) == [1.0, 1.0, 0.0, 0.0]


def test_a_run_that_is_stopped_keeps_its_rows_and_is_continued(post_train, tmp_path):
    out = tmp_path / "rows"
    out.mkdir()
    post_train.stop = 11
    with pytest.raises(KeyboardInterrupt):
        run(P3O, out, tmp_path)
    kept = read_result(P3O, out)
    assert kept is not None
    assert not is_finished(kept)
    assert (kept["ended"], kept["columns"]["step"]) == ("at update 8", [0.0, 4.0, 8.0])
    post_train.stop = None
    result = run(P3O, out, tmp_path)
    assert is_finished(result)
    assert result["columns"]["step"] == [float(step) for step in range(0, STEPS + 1, 4)]
    assert [(call["resume"], call["overwrite"]) for call in post_train] == [(False, True), (True, False)]
    assert result["seconds"] >= kept["seconds"]
    assert run(P3O, out, tmp_path) == result
    assert len(post_train) == 2


def test_a_run_that_diverges_is_finished(post_train, tmp_path, capsys):
    post_train.stop, post_train.diverges = 7, True
    result = run(DAPO, tmp_path, tmp_path)
    assert is_finished(result)
    assert result["ended"].startswith("diverged: step 7")
    assert str(tmp_path) not in result["ended"]
    assert "the loss is nan" in capsys.readouterr().err


@pytest.fixture
def tiny_model(tiny, monkeypatch, tmp_path):
    """A tiny model in the place of the real one."""
    folder = tmp_path / "model"
    for part in tiny:
        part.save_pretrained(folder)
    monkeypatch.setattr(runs, "converted", lambda work: folder)
    monkeypatch.setattr(runs, "TRAINER", runs.TRAINER | {"per_device_train_batch_size": 8})


@pytest.mark.parametrize("objective", [P3O.objective, DAPO.objective], ids=["p3o", "dapo"])
def test_a_real_run_that_is_stopped_ends_as_one_that_is_not(objective, tiny_model, monkeypatch, tmp_path):
    plan = replace(P3O, objective=objective, steps=8)
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    for folder in (whole, stopped):
        folder.mkdir()
    expected = run(plan, whole, whole)["columns"]
    assert expected["step"] == [0.0, 4.0, 8.0]
    assert all(0 < value < 1 for value in expected["held_out_reward"])

    original = runs.post_train

    def interrupted(*args, progress, **options):
        def stop(seed, done, total, row):
            progress(seed, done, total, row)
            if done == 6:
                raise KeyboardInterrupt

        return original(*args, progress=stop, **options)

    monkeypatch.setattr(runs, "post_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(plan, stopped, stopped)
    monkeypatch.setattr(runs, "post_train", original)
    kept = read_result(plan, stopped)
    assert kept is not None
    assert kept["ended"] == "at update 4"
    continued = run(plan, stopped, stopped)
    assert continued["ended"] == "finished"
    assert continued["columns"] == expected
