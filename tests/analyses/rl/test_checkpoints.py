"""Coupling measured on the checkpoints that TRL and FeynRL save."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import coupling
from coupling import CouplingError
from coupling.analyses.rl.checkpoints import Defaults, defaults_of, measure_checkpoints
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.post_training import post_train
from coupling.figures import rl
from coupling.figures.columns import read_table
from coupling.metrics import pair_mismatch
from coupling.models.prompts import Prompts, bundled_prompts

PROMPTS = Prompts(["([{=", "<>(="], "texts")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def trl_run(small_model, tmp_path_factory):
    """What TRL's own trainer saved: checkpoint-2 and -4."""
    out = tmp_path_factory.mktemp("runs") / "trl"
    trainer = {
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 4,
        "learning_rate": 1e-3,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    config = {
        "model": str(small_model),
        "objective": "grpo",
        "data": {"task": "brackets"},
        "reward": "exact",
        "probe": {"every": 0},
    }
    rows = post_train(from_mapping(config | {"trainer": trainer}), out)
    return out / "trainer", rows


@pytest.fixture(scope="module")
def lora_run(small_model, tmp_path_factory):
    """TRL's checkpoints of a run that trained adapters, which contain only the adapters."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    trainer = {
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 4,
        "learning_rate": 1e-2,
        "weight_decay": 20,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    config = {
        "model": str(small_model),
        "data": {"task": "brackets"},
        "lora": {"r": 2, "target_modules": "all-linear", "init_lora_weights": False},
        "probe": {"every": 2, "k": 5, "prompts": PROMPTS.texts},
    }
    return out / "trainer", post_train(from_mapping(config | {"trainer": trainer}), out)


def expected(folder: Path, first: Path, k: int, largest: int) -> dict[str, float]:
    """The same numbers from the library's public functions, with dense matrices and full SVDs for the drift."""
    models = [AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval() for place in (folder, first)]
    tokenizer = AutoTokenizer.from_pretrained(first)
    inputs = [tokenizer(text, return_tensors="pt")["input_ids"] for text in PROMPTS.texts]
    measured = coupling.measure(models[0], inputs, k=k)
    drifts = []
    for ids in inputs:
        recordings = [coupling.record(model, {"input_ids": ids}) for model in models]
        for block in range(recordings[0].n_blocks):
            now, before = (item.jacobian(block, ids.shape[1] - 1).to_dense().double() for item in recordings)
            drifts.append(float(pair_mismatch(now.numpy(), before.numpy(), k=largest, norm=2)))
    return {
        "score": coupling.score(measured, k),
        "chance": coupling.chance_score(measured, k),
        "mismatch_to_initial": sum(drifts) / len(drifts),
    }


def test_trls_layout(trl_run, tmp_path):
    folder, logged = trl_run
    measured = measure_checkpoints(folder, PROMPTS, k=(5, 8), out=tmp_path / "out")
    rows = measured.rows
    assert [row["step"] for row in rows] == [2, 4]
    assert measured.skipped == []
    assert measured.reference == "checkpoint-2"
    for row in rows:
        there = expected(folder / f"checkpoint-{row['step']}", folder / "checkpoint-2", 5, 8)
        assert {name: row[name] for name in there} == pytest.approx(there, abs=1e-4)
        assert row["excess"] == pytest.approx((row["score"] - row["chance"]) / (1 - row["chance"]), abs=1e-4)
        assert row["reward"] == logged[row["step"] - 1]["reward"]  # from trainer_state.json
        assert "coupling/score_k8_p2" in row
    assert rows[0]["mismatch_to_initial"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["mismatch_to_initial"] > 0.001
    rl(read_table(tmp_path / "out" / "table.csv", "rl"))
    summary = json.loads((tmp_path / "out" / "run.json").read_text())
    assert summary["measured"] == {"checkpoint-2": 2, "checkpoint-4": 4}
    assert (summary["finished"], summary["mismatch_to"]) == (True, "checkpoint-2")


def test_adapters_are_merged_into_the_model_that_they_name(lora_run, tmp_path):
    folder, run_rows = lora_run
    measured = measure_checkpoints(folder, PROMPTS, k=(5,))
    rows = measured.rows
    assert measured.skipped == []
    during = {row["step"]: row["score"] for row in run_rows if "score" in row}
    for row in rows:  # the run measured the same on the model with its adapters beside its weights
        assert row["score"] == pytest.approx(during[row["step"]], abs=1e-5)
    assert rows[1]["mismatch_to_initial"] > 0.01  # the decay of the adapters' weights moved them
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    config = broken / "checkpoint-2" / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 2', '"r": 3'))
    (broken / "checkpoint-4" / "adapter_config.json").write_text("{}")
    with pytest.raises(CouplingError) as refusal:
        measure_checkpoints(broken, PROMPTS, k=(5,))
    for part in ("checkpoint-2: the adapter cannot be merged into", "checkpoint-4: an adapter whose", "names no model"):
        assert part in str(refusal.value)


def test_a_tokenizer_in_the_parent_folder_gives_the_same(trl_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trl_run[0], folder)
    for step in (2, 4):
        for name in TOKENIZER:
            (folder / f"checkpoint-{step}" / name).replace(folder / name)
    moved, whole = (measure_checkpoints(place, PROMPTS, k=(5,)).rows for place in (folder, trl_run[0]))
    assert [{**row, "run": "trainer"} for row in moved] == whole


def test_feynrls_layout(feynrl_run, tmp_path):
    measured = measure_checkpoints(feynrl_run, PROMPTS, k=(5,), out=tmp_path / "out")
    rows = measured.rows
    assert [row["step"] for row in rows] == [16, 80, 88]
    assert measured.skipped == []
    there = expected(feynrl_run / "iter000010_v000010", feynrl_run / "iter000002_v000002", 5, 5)
    assert {name: rows[1][name] for name in there} == pytest.approx(there, abs=1e-4)
    drift = [row["mismatch_to_initial"] for row in rows]
    assert drift == sorted(drift)
    rl(read_table(tmp_path / "out" / "table.csv", "rl"))  # the picture is drawn without a reward


def test_incomplete_and_foreign_folders_are_listed(feynrl_run, trl_run):
    (feynrl_run / "iter000011_v000011" / "CHECKPOINT_COMPLETE").unlink()
    (feynrl_run / "logs").mkdir()
    (feynrl_run / "checkpoint-5").mkdir()
    (feynrl_run / "checkpoint-6").mkdir()
    (feynrl_run / "checkpoint-6" / "adapter_config.json").write_text("{}")
    shutil.copytree(trl_run[0] / "checkpoint-4", feynrl_run / "checkpoint-20")
    weights = feynrl_run / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    measured = measure_checkpoints(feynrl_run, PROMPTS, k=(5,))
    assert [row["step"] for row in measured.rows] == [16, 80]
    reasons = {item.folder.name: item.reason for item in measured.skipped}
    assert reasons.keys() == {"iter000011_v000011", "logs", "checkpoint-5", "checkpoint-6", "checkpoint-20"}
    for name, part in (
        ("iter000011_v000011", "incomplete: CHECKPOINT_COMPLETE"),
        ("logs", "there is no checkpoint in it"),
        ("checkpoint-5", "incomplete: config.json"),
        ("checkpoint-6", "an adapter"),
        ("checkpoint-20", "truncated or corrupt"),
    ):
        assert part in reasons[name]


def test_checkpoints_are_never_deleted_by_measuring_them(tmp_path):
    kept = tmp_path / "run" / "trainer" / "checkpoint-1" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    (kept.parent / "config.json").write_text("{}")
    (kept.parent / "tokenizer.json").write_text("{}")
    (tmp_path / "run" / "run.json").write_text('{"config": {}, "seeds": [0]}')
    (tmp_path / "run" / "table.csv").write_text("step\n")
    for place in (tmp_path / "run", tmp_path / "run" / "trainer" / "x"):
        with pytest.raises(CouplingError, match="one contains the other"):
            measure_checkpoints(tmp_path / "run" / "trainer", prompts=PROMPTS, out=place, overwrite=True)
    assert kept.read_text() == "weights"


def test_settings_and_prompts_that_do_not_suit_the_model(feynrl_run):
    with pytest.raises(CouplingError, match=r"K is 97, but this model.s residual stream has d = 96"):
        measure_checkpoints(feynrl_run, PROMPTS, k=(97,))
    with pytest.raises(CouplingError, match="choose another"):
        measure_checkpoints(feynrl_run, PROMPTS, out=feynrl_run)
    with pytest.raises(CouplingError, match=r"the initial model: .*`initial` names another model"):
        measure_checkpoints(feynrl_run, PROMPTS, k=(5,), initial="./nowhere")


def test_the_initial_model_is_step_0(feynrl_run, small_model, tmp_path):
    seen = []
    measured = measure_checkpoints(
        feynrl_run, PROMPTS, k=(5,), initial=str(small_model), progress=lambda *arguments: seen.append(arguments)
    )
    assert [row["step"] for row in measured.rows] == [0, 16, 80, 88]
    assert measured.reference == "the initial model"
    assert seen[1] == (1, 4, "iter000002_v000002")
    drift = [row["mismatch_to_initial"] for row in measured.rows]
    assert drift[:2] == pytest.approx([0, 0], abs=1e-6)  # the first checkpoint is the initial model itself
    assert min(drift[2:]) > 0.001


def test_defaults_are_those_of_the_run(trl_run, lora_run, feynrl_run, small_model):
    assert defaults_of(lora_run[0]) == Defaults(
        Prompts(PROMPTS.texts, "the probe of lora"), k=(5,), initial=str(small_model)
    )
    assert defaults_of(trl_run[0], PROMPTS) == Defaults(PROMPTS, k=(10,), initial=str(small_model))
    assert defaults_of(feynrl_run) == Defaults(bundled_prompts(), k=(10,), initial=None)
