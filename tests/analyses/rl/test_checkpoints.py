"""Checkpoints that TRL and FeynRL leave, measured after the fact."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import coupling
from coupling import CouplingError
from coupling.analyses.rl.checkpoints import find_checkpoints, measure_checkpoints
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.log import prepare_folder
from coupling.analyses.rl.post_training import run
from coupling.analyses.rl.warm_start import warm_start
from coupling.figures import rl
from coupling.figures.columns import read_table
from coupling.metrics import pair_mismatch
from coupling.models.prompts import Prompts
from tests.helpers import refused

PROMPTS = Prompts(["([{=", "<>(="], "texts")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    return warm_start("brackets", steps=5, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trl_run(started, tmp_path_factory):
    """What TRL's own trainer saved: checkpoint-2 and -4."""
    out = tmp_path_factory.mktemp("runs") / "trl"
    trainer = {"max_steps": 4, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 4,
               "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 2}  # fmt: skip
    config = {
        "model": str(started),
        "objective": "grpo",
        "data": {"task": "brackets"},
        "reward": "exact",
        "probe": {"every": 0},
    }
    rows = run(from_mapping(config | {"trainer": trainer}), out)
    return out / "trainer", rows


@pytest.fixture(scope="module")
def lora_run(started, tmp_path_factory):
    """TRL's checkpoints of a run that trained adapters: nothing but these."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    trainer = {"max_steps": 4, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 4,
               "learning_rate": 1e-2, "weight_decay": 20, "save_strategy": "steps", "save_steps": 2}  # fmt: skip
    config = {
        "model": str(started),
        "data": {"task": "brackets"},
        "lora": {"r": 2, "target_modules": "all-linear", "init_lora_weights": False},
        "probe": {"every": 2, "k": 5, "prompts": PROMPTS.texts},
    }
    return out / "trainer", run(from_mapping(config | {"trainer": trainer}), out)


def feynrl_checkpoint(folder: Path, epoch: int, step: int, model, tokenizer) -> Path:
    """A folder as FeynRL's save_checkpoint and the engines' savers write it."""
    place = folder / f"iter{epoch:06d}_v{epoch:06d}"
    (place / "ds_engine").mkdir(parents=True)
    state = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    save_file(state, place / "model.safetensors")  # without the metadata that transformers adds
    model.config.save_pretrained(place)
    model.generation_config.save_pretrained(place)
    tokenizer.save_pretrained(place)
    (place / "training_state.json").write_text(
        json.dumps({"epoch": epoch - 1, "policy_version": epoch, "global_step": step, "training_gpus": 1})
    )
    (place / "CHECKPOINT_COMPLETE").write_text("")
    return place


@pytest.fixture
def feynrl_run(started, tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(started), AutoTokenizer.from_pretrained(started)
    torch.manual_seed(0)
    for epoch, step in ((2, 16), (10, 80), (11, 88)):
        feynrl_checkpoint(tmp_path / "experiment", epoch, step, model, tokenizer)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
    return tmp_path / "experiment"


def expected(folder: Path, first: Path, k: int, largest: int) -> dict[str, float]:
    """The same numbers by the library's public functions alone, dense matrices and full SVDs for the drift."""
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
    return {"score": coupling.score(measured, k), "chance": coupling.chance_score(measured, k),
            "mismatch_to_initial": sum(drifts) / len(drifts)}  # fmt: skip


def test_trls_layout(trl_run, tmp_path):
    folder, logged = trl_run
    rows, skipped = measure_checkpoints(folder, PROMPTS, k=(5, 8), out=tmp_path / "out")
    assert [row["step"] for row in rows] == [2, 4]
    assert skipped == []
    for row in rows:
        there = expected(folder / f"checkpoint-{row['step']}", folder / "checkpoint-2", 5, 8)
        assert {name: row[name] for name in there} == pytest.approx(there, abs=1e-4)
        assert row["excess"] == pytest.approx((row["score"] - row["chance"]) / (1 - row["chance"]), abs=1e-4)
        assert row["reward"] == logged[row["step"] - 1]["reward"]  # from trainer_state.json
        assert "coupling/score_k8_p2" in row
    assert rows[0]["mismatch_to_initial"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["mismatch_to_initial"] > 0.001
    rl(read_table(tmp_path / "out" / "table.csv", "rl"))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["measured"] == {"checkpoint-2": 2, "checkpoint-4": 4}


def test_adapters_are_merged_into_the_model_that_they_name(lora_run, tmp_path):
    folder, seen = lora_run
    rows, skipped = measure_checkpoints(folder, PROMPTS, k=(5,))
    assert skipped == []
    during = {row["step"]: row["score"] for row in seen if "score" in row}
    for row in rows:  # the same as was measured through the run, on the model with its adapters beside its weights
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


def test_a_tokenizer_in_the_parent_gives_the_same(trl_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trl_run[0], folder)
    for step in (2, 4):
        for name in TOKENIZER:
            (folder / f"checkpoint-{step}" / name).replace(folder / name)
    moved, whole = (measure_checkpoints(place, PROMPTS, k=(5,))[0] for place in (folder, trl_run[0]))
    assert [{**row, "run": "trainer"} for row in moved] == whole


def test_feynrls_layout(feynrl_run, tmp_path):
    rows, skipped = measure_checkpoints(feynrl_run, PROMPTS, k=(5,), out=tmp_path / "out")
    assert [row["step"] for row in rows] == [16, 80, 88]
    assert skipped == []
    there = expected(feynrl_run / "iter000010_v000010", feynrl_run / "iter000002_v000002", 5, 5)
    assert {name: rows[1][name] for name in there} == pytest.approx(there, abs=1e-4)
    drift = [row["mismatch_to_initial"] for row in rows]
    assert drift == sorted(drift)
    rl(read_table(tmp_path / "out" / "table.csv", "rl"))  # no reward is known, and the picture does without


def test_incomplete_and_foreign_folders_are_listed(feynrl_run, trl_run):
    (feynrl_run / "iter000011_v000011" / "CHECKPOINT_COMPLETE").unlink()
    (feynrl_run / "logs").mkdir()
    (feynrl_run / "checkpoint-5").mkdir()
    (feynrl_run / "checkpoint-6").mkdir()
    (feynrl_run / "checkpoint-6" / "adapter_config.json").write_text("{}")
    shutil.copytree(trl_run[0] / "checkpoint-4", feynrl_run / "checkpoint-20")
    weights = feynrl_run / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    rows, skipped = measure_checkpoints(feynrl_run, PROMPTS, k=(5,))
    assert [row["step"] for row in rows] == [16, 80]
    reasons = {item.folder.name: item.reason for item in skipped}
    assert reasons.keys() == {"iter000011_v000011", "logs", "checkpoint-5", "checkpoint-6", "checkpoint-20"}
    for name, part in (("iter000011_v000011", "incomplete: CHECKPOINT_COMPLETE"), ("logs", "no checkpoint by its name"),
                       ("checkpoint-5", "incomplete: no config.json"), ("checkpoint-6", "an adapter"),
                       ("checkpoint-20", "truncated or corrupt")):  # fmt: skip
        assert part in reasons[name]


def test_refusals(tmp_path, feynrl_run):
    with pytest.raises(CouplingError, match="cannot read the folder"):
        find_checkpoints(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CouplingError, match=r"no checkpoint to measure .*checkpoint-100"):
        find_checkpoints(tmp_path / "empty")
    shutil.copytree(feynrl_run / "iter000002_v000002", feynrl_run / "checkpoint-16")
    with pytest.raises(CouplingError, match="both of step 16"):
        find_checkpoints(feynrl_run)
    shutil.rmtree(feynrl_run / "checkpoint-16")
    with pytest.raises(CouplingError, match="k is 97, but must be 1 to 96"):
        measure_checkpoints(feynrl_run, PROMPTS, k=(97,))
    with pytest.raises(CouplingError, match="choose another"):
        measure_checkpoints(feynrl_run, PROMPTS, out=feynrl_run)


def test_the_command(cli, feynrl_run, tmp_path):
    (tmp_path / "p.txt").write_text("([{=\n<>(=\n(=\n")
    (feynrl_run / "logs").mkdir()
    arguments = ("rl", "--from-checkpoints", feynrl_run, "--prompts", "p.txt", "--limit", 2, "--k", 5, "--out", "out")
    code, out, err = cli(*arguments)
    assert code == 0, err
    assert "to initial" in out
    assert "not measured: logs: no checkpoint by its name" in err
    assert "coupling plot out --kind rl -o rl.png" in err
    assert pd.read_csv("out/table.csv").step.tolist() == [16, 80, 88]
    refused(cli(*arguments), "--overwrite")
    code, out, _ = cli(*arguments, "--overwrite", "--json")
    shown = json.loads(out)
    assert shown["skipped"][0]["folder"] == "logs"
    assert [row["step"] for row in shown["seeds"][0]["rows"]] == [16, 80, 88]
    assert cli(*arguments, "--overwrite", "--quiet") == (0, "", "")


def test_checkpoints_are_never_deleted_by_measuring_them(tmp_path):
    kept = tmp_path / "run" / "trainer" / "checkpoint-1" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    (kept.parent / "config.json").write_text("{}")
    (kept.parent / "tokenizer.json").write_text("{}")
    (tmp_path / "run" / "run.json").write_text('{"config": {}, "seeds": [0]}')
    (tmp_path / "run" / "table.csv").write_text("step\n")
    for place in (tmp_path / "run", tmp_path / "run" / "trainer" / "x"):
        with pytest.raises(CouplingError, match="hold each other"):
            measure_checkpoints(tmp_path / "run" / "trainer", prompts=PROMPTS, out=place, overwrite=True)
    assert kept.read_text() == "weights"


def test_folders_of_others_are_left_alone(tmp_path):
    kept = tmp_path / "model" / "weights.bin"
    kept.parent.mkdir()
    kept.write_text("x")
    for summary in ("{}", '{"config": {}, "seeds": []}'):
        (tmp_path / "run.json").write_text(summary)
        with pytest.raises(CouplingError, match="holds"):
            prepare_folder(tmp_path, overwrite=False)
        assert kept.exists()
    with pytest.raises(CouplingError, match=r"would be lost|is not replaced"):
        prepare_folder(tmp_path, overwrite=True, replaced=())
    assert kept.exists()
