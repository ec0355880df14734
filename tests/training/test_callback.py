"""CouplingCallback: what it measures, where it logs, and that training is the same with it."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import coupling
from coupling.analyses.correlation.measures import OF_TOKENS, measures_of
from coupling.errors import CouplingError
from coupling.training import CouplingCallback
from tests.tiny_policy import make_policy, make_tokenizer, make_trainer, weights

PROBES = ["a b c d", "h g f e d c"]


class Letters(Dataset):
    def __init__(self):
        self.ids = torch.randint(2, 10, (64, 8), generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


class Tracker(TrainerCallback):
    """Keeps what W&B or TensorBoard would receive."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append((state.global_step, dict(logs)))


ARGUMENTS = {
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 2,
    "use_cpu": True,
    "seed": 1,
    "disable_tqdm": True,
}


def plain_trainer(folder, callbacks=None, steps=6, **options):
    arguments = TrainingArguments(output_dir=str(folder), max_steps=steps, **ARGUMENTS | options)
    return Trainer(
        make_policy(attention_dropout=0.3),
        arguments,
        train_dataset=Letters(),
        eval_dataset=Letters(),
        processing_class=make_tokenizer(),
        callbacks=callbacks,
    )


def without_times(row):
    return {name: value for name, value in row.items() if name not in ("coupling/seconds", "coupling/overhead")}


def probe_ids():
    return [make_tokenizer()(text, return_tensors="pt")["input_ids"] for text in PROBES]


def test_it_logs_what_coupling_measure_measures(tmp_path):
    tracker = Tracker()
    trainer = plain_trainer(tmp_path, [tracker])
    before = copy.deepcopy(trainer.model).eval()
    callback = CouplingCallback(PROBES, every=3, k=(2, 4)).attach(trainer)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "coupling/score_k4_p2" in row]
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert [row["step"] for row in callback.history] == [0, 3, 6]
    runs = [coupling.measure(model, probe_ids(), k=(2, 4)) for model in (before, trainer.model.eval())]
    for row, run in ((rows[0], runs[0]), (rows[2], runs[1])):
        for k, p in ((2, 1), (2, 2), (4, 1), (4, 2)):
            assert row[f"coupling/score_k{k}_p{p}"] == pytest.approx(coupling.score(run, k, p), abs=1e-6)
            assert row[f"coupling/chance_k{k}_p{p}"] == pytest.approx(coupling.chance_score(run, k, p), abs=1e-6)
        score, chance = row["coupling/score_k4_p2"], row["coupling/chance_k4_p2"]
        assert row["coupling/excess_k4_p2"] == pytest.approx((score - chance) / (1 - chance), abs=0.02)
        expected = measures_of(run)
        for name, measure in zip(("line_shape_score", "expodistance", "residual_growth"), OF_TOKENS, strict=True):
            assert row[f"coupling/{name}"] == pytest.approx(expected[measure], rel=1e-5)
    assert [step for step, logs in tracker.logs if "coupling/score_k4_p2" in logs] == [0, 3, 6]


def test_the_mismatch_to_the_initial_policy_of_each_block_agrees_with_dense_svd(tmp_path):
    trainer = plain_trainer(tmp_path, steps=4)
    before = copy.deepcopy(trainer.model).eval()
    callback = CouplingCallback(PROBES[:1], every=100, k=3).attach(trainer)
    trainer.train()
    first, last = callback.history
    ids = make_tokenizer()(PROBES[0], return_tensors="pt")["input_ids"]
    expected = []
    for block in range(3):
        assert first[f"coupling/mismatch_to_initial/block_{block}"] < 1e-4
        dense = []
        for model in (before, trainer.model.eval()):
            recording = coupling.record(model, {"input_ids": ids})
            dense.append(recording.jacobian(block, 3, 3).to_dense().double().numpy())
        left, _, right = np.linalg.svd(dense[0])
        values = np.linalg.svd(dense[1], compute_uv=False)[:3]
        projection = np.abs(left[:, :3].T @ dense[1] @ right[:3].T)
        expected.append(np.linalg.norm(projection - np.diag(values)) / np.linalg.norm(values))
        assert last[f"coupling/mismatch_to_initial/block_{block}"] == pytest.approx(expected[-1], abs=1e-3)
    assert last["coupling/mismatch_to_initial"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert min(expected) > 0.01


def trained_without_and_with(folder):
    without = plain_trainer(folder / "a")
    without.train()
    with_it = plain_trainer(folder / "b")
    CouplingCallback(PROBES, every=1, k=2).attach(with_it)
    with_it.train()
    return without, with_it


def test_training_is_bit_for_bit_the_same(tmp_path):
    without, with_it = trained_without_and_with(tmp_path)
    assert torch.equal(weights(without), weights(with_it))
    assert with_it.model.training == without.model.training
    losses = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (without, with_it)]
    assert losses[0] == losses[1]


def test_training_draws_the_random_numbers_that_it_would_have_drawn(tmp_path, monkeypatch):
    def measure(self, model, tokenizer=None):
        return {"coupling/score_k2_p2": float(torch.rand(7).sum())}  # like a model that draws in its forward pass

    monkeypatch.setattr(CouplingCallback, "measure", measure)
    without, with_it = trained_without_and_with(tmp_path)
    assert torch.equal(weights(without), weights(with_it))


def test_rl_is_bit_for_bit_the_same_and_keeps_its_own_metrics(tmp_path):
    without = make_trainer(tmp_path / "a", max_steps=3)
    without.train()
    with_it = make_trainer(tmp_path / "b", max_steps=3)
    CouplingCallback(PROBES, every=1, k=2).attach(with_it)
    with_it.train()
    assert torch.equal(weights(without), weights(with_it))
    rows = [[row["reward"] for row in t.state.log_history if "reward" in row] for t in (without, with_it)]
    assert rows[0] == rows[1]
    assert len([row for row in with_it.state.log_history if "coupling/score_k2_p2" in row]) == 4


def test_without_attach_it_only_writes_the_log_history(tmp_path):
    callback = CouplingCallback([make_tokenizer()("a b c")["input_ids"]], every=2, k=2)
    trainer = plain_trainer(tmp_path, [callback], steps=2)
    trainer.train()
    assert [row["step"] for row in trainer.state.log_history if "coupling/score_k2_p2" in row] == [0, 2]


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(CouplingError, match="`every` is 0"):
        CouplingCallback(PROBES, every=0)
    trainer = plain_trainer(tmp_path)
    CouplingCallback(PROBES, k=99).attach(trainer)
    with pytest.raises(CouplingError, match=r"K is 99, but this model.s residual stream has d = 32"):
        trainer.train()
    with pytest.raises(CouplingError, match="no tokenizer"):
        CouplingCallback(PROBES, k=2).measure(make_policy())


def test_on_a_device_without_float64_a_copy_is_measured_on_the_cpu(tmp_path, monkeypatch):
    rows = []
    for device_types in ((), ("cpu",)):
        monkeypatch.setattr("coupling.training.probe.WITHOUT_FLOAT64", device_types)
        trainer = make_trainer(tmp_path, max_steps=1)
        rows.append(CouplingCallback(PROBES, k=2).attach(trainer).history)
        trainer.train()
    assert len(rows[0]) == 2
    assert [without_times(row) for row in rows[0]] == [without_times(row) for row in rows[1]]


def test_a_later_measurement_that_fails_is_a_warning(tmp_path):
    trainer = plain_trainer(tmp_path, steps=3)
    callback = CouplingCallback(PROBES, every=1, k=2).attach(trainer)
    measure = callback.measure

    def fails_once(*arguments):
        if len(callback.history) == 1 and callback._last_step == 1:
            raise CouplingError("the Jacobian contains a NaN")
        return measure(*arguments)

    callback.measure = fails_once
    with pytest.warns(UserWarning, match="step 1: coupling is not measured: the Jacobian contains a NaN"):
        trainer.train()
    assert [row["step"] for row in callback.history] == [0, 2, 3]


def test_a_resumed_training_without_the_callback_before_is_not_compared_with_what_it_resumes_from(tmp_path):
    first = plain_trainer(tmp_path, steps=4, save_strategy="steps", save_steps=2)
    first.train()
    resumed = plain_trainer(tmp_path, steps=6)
    callback = CouplingCallback(PROBES, every=2, k=2).attach(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert callback.history
    for row in callback.history:
        assert "coupling/score_k2_p2" in row
        assert not any("to_initial" in name for name in row)


def test_the_list_of_blocks_can_be_named_and_its_former_keyword_works_with_a_warning():
    model = make_policy().eval()
    measured = CouplingCallback(PROBES, k=2).measure(model, make_tokenizer())
    named = CouplingCallback(PROBES, k=2, block_list="model.layers")
    assert named.measure(model, make_tokenizer()) == measured
    with pytest.warns(FutureWarning, match="the keyword blocks is now called block_list"):
        renamed = CouplingCallback(PROBES, k=2, blocks="nothing")
    with pytest.raises(CouplingError, match="no list of modules named 'nothing'"):
        renamed.measure(model, make_tokenizer())
