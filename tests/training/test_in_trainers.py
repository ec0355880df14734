"""CouplingCallback in the life of a trainer: best models, evaluations, early stopping, resumption, cost, precision."""

import copy
import math

import pytest
import torch
import transformers
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

import coupling
from coupling.errors import CouplingError
from coupling.training import CouplingCallback
from coupling.training.overhead import Overhead
from tests.tiny_policy import make_grpo_trainer, make_policy, make_prompts, make_tokenizer, weights
from tests.training.test_callback import ARGUMENTS, PROBES, Letters, plain_trainer, probe_ids, without_times

SCORE = "coupling/score_k2_p2"
EVALUATED = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
BEST = EVALUATED | {"load_best_model_at_end": True, "greater_is_better": True}


def scripted(callback, scores):
    """Let measurements give these scores, one after the other; the last is repeated."""
    left = list(scores)
    callback.measure = lambda *_: {SCORE: left.pop(0) if len(left) > 1 else left[0]}
    return callback


def score_of(folder):
    model = transformers.LlamaForCausalLM.from_pretrained(folder).eval()
    return coupling.score(coupling.measure(model, probe_ids(), k=2))


def test_the_last_measurement_is_of_the_last_step_even_if_the_best_model_is_loaded(tmp_path):
    trainer = plain_trainer(tmp_path, **BEST, metric_for_best_model="loss")  # the worst, which is the first
    callback = CouplingCallback(PROBES, every=100, k=2).attach(trainer)
    trainer.train()
    assert trainer.state.best_global_step == 2
    assert [row["step"] for row in callback.history] == [0, 6]
    assert callback.history[-1][SCORE] == pytest.approx(score_of(tmp_path / "checkpoint-6"), abs=1e-6)
    best = coupling.score(coupling.measure(trainer.model.eval(), probe_ids(), k=2))
    assert best == pytest.approx(score_of(tmp_path / "checkpoint-2"), abs=1e-6)
    assert abs(callback.history[-1][SCORE] - best) > 1e-4


def test_the_best_model_can_be_the_one_with_the_highest_coupling(tmp_path):
    trainer = plain_trainer(tmp_path, **BEST, metric_for_best_model=SCORE)
    callback = scripted(CouplingCallback(PROBES, every=100, k=2, in_evaluation=True), [0.1, 0.2, 0.4, 0.3])
    callback.attach(trainer)
    trainer.train()
    assert [(row["step"], row[SCORE]) for row in callback.history] == [(0, 0.1), (2, 0.2), (4, 0.4), (6, 0.3)]
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.4, 4)


def test_without_being_asked_for_coupling_is_not_in_the_evaluation(tmp_path):
    trainer = plain_trainer(tmp_path, **BEST, metric_for_best_model=SCORE)
    CouplingCallback(PROBES, every=2, k=2).attach(trainer)
    with pytest.raises(KeyError, match="coupling/score_k2_p2"):
        trainer.train()


def test_training_stops_early_when_coupling_no_longer_rises(tmp_path):
    stopping = EarlyStoppingCallback(early_stopping_patience=1)
    trainer = plain_trainer(tmp_path, [stopping], steps=20, **BEST, metric_for_best_model=SCORE)
    callback = CouplingCallback(PROBES, every=100, k=2, in_evaluation=True)
    scripted(callback, [0.1, 0.2, 0.4, 0.3, 0.2]).attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 6
    assert trainer.state.best_global_step == 4
    assert [row["step"] for row in callback.history] == [0, 2, 4, 6]


def test_an_evaluation_whose_measurement_fails_is_never_the_best(tmp_path):
    trainer = plain_trainer(tmp_path, **BEST, metric_for_best_model=SCORE)
    callback = CouplingCallback(PROBES, every=100, k=2, in_evaluation=True).attach(trainer)
    measured = iter([0.1, 0.2, None, 0.15])

    def measure(*_):
        value = next(measured)
        if value is None:
            raise CouplingError("the Jacobian contains a NaN")
        return {SCORE: value}

    callback.measure = measure
    with pytest.warns(UserWarning, match="step 4: coupling is not measured"):
        trainer.train()
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.2, 2)


def test_an_evaluation_outside_of_training_measures_the_model_as_it_is(tmp_path):
    trainer = plain_trainer(tmp_path)
    callback = CouplingCallback(PROBES, every=100, k=2, in_evaluation=True).attach(trainer)
    trainer.train()
    with torch.no_grad():
        trainer.model.model.layers[1].mlp.down_proj.weight.mul_(9)
    metrics = trainer.evaluate(metric_key_prefix="test")
    expected = coupling.score(coupling.measure(trainer.model.eval(), probe_ids(), k=2))
    assert metrics[f"test_{SCORE}"] == pytest.approx(expected, abs=1e-6)
    assert [row["step"] for row in callback.history] == [0, 6]


def test_a_resumed_training_is_compared_with_the_model_that_training_began_with(tmp_path):
    whole = plain_trainer(tmp_path / "a", **EVALUATED)
    expected = CouplingCallback(PROBES, every=2, k=2).attach(whole).history
    whole.train()
    resumed = plain_trainer(tmp_path / "a", **EVALUATED)
    callback = CouplingCallback(PROBES, every=2, k=2).attach(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert [row["step"] for row in callback.history] == [2, 4, 6]
    for row, before in zip(callback.history, expected[1:], strict=True):
        assert "coupling/mismatch_to_initial/block_2" in row
        assert without_times(row) == pytest.approx(without_times(before), abs=1e-6)
    assert callback.history[0]["coupling/mismatch_to_initial"] > 0.001


def test_a_checkpoint_elsewhere_gives_the_initial_model_where_it_was_measured_in_the_same_way(tmp_path):
    trainer = plain_trainer(tmp_path / "a", steps=2, **EVALUATED)
    CouplingCallback(PROBES, every=2, k=2).attach(trainer)
    trainer.train()
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    checkpoint = tmp_path / "elsewhere" / "checkpoint-2"
    assert not CouplingCallback(PROBES, k=3).load_initial(checkpoint)
    assert not CouplingCallback(PROBES[:1], k=2).load_initial(checkpoint)
    assert not CouplingCallback(PROBES, k=2).load_initial(tmp_path)
    callback = CouplingCallback(PROBES, every=2, k=2)
    assert callback.load_initial(checkpoint)
    resumed = plain_trainer(tmp_path / "b", steps=4, **EVALUATED)
    callback.attach(resumed)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert all(row["coupling/mismatch_to_initial"] > 0.001 for row in callback.history)


def test_the_cost_is_logged_and_can_be_capped(tmp_path):
    now = [0.0]
    trainer = plain_trainer(tmp_path, steps=40)
    callback = CouplingCallback(PROBES, every=1, k=2, max_overhead=0.2)
    callback.overhead = Overhead(0.2, clock=lambda: now[0])

    def measure(*_):
        now[0] += 3.0
        return {SCORE: 0.1}

    def step(*_, **__):
        now[0] += 1.0

    callback.measure = measure
    clock = transformers.TrainerCallback()
    clock.on_step_begin = step
    trainer.add_callback(clock)
    callback.attach(trainer)
    trainer.train()
    steps = [row["step"] for row in callback.history]
    # The measurement at step s, the n-th, is made where 3 n seconds are at most a fifth of s + 3 n seconds.
    assert steps == [0, 24, 36, 40]
    assert {row["coupling/seconds"] for row in callback.history} == {3.0}
    shares = [row["coupling/overhead"] for row in callback.history]
    assert shares == pytest.approx([1, 6 / 30, 9 / 45, 12 / 52])
    assert len(plain_trainer(tmp_path).state.log_history) == 0


@pytest.mark.parametrize("options", [{"bf16": True}, {"gradient_accumulation_steps": 3}], ids=str)
def test_autocast_and_accumulation_change_neither_numbers_nor_training(options, tmp_path):
    without = plain_trainer(tmp_path / "a", **options)
    without.train()
    trainer = plain_trainer(tmp_path / "b", **options)
    before = copy.deepcopy(trainer.model).eval()
    callback = CouplingCallback(PROBES, every=3, k=2).attach(trainer)
    trainer.train()
    assert torch.equal(weights(without), weights(trainer))
    assert [row["step"] for row in callback.history] == [0, 3, 6]
    after = transformers.LlamaForCausalLM(trainer.model.config)
    after.load_state_dict(trainer.model.state_dict())
    for row, model in ((callback.history[0], before), (callback.history[-1], after.eval())):
        assert row[SCORE] == pytest.approx(coupling.score(coupling.measure(model, probe_ids(), k=2)), abs=1e-6)


def test_autocast_does_not_change_the_numbers_of_a_model_that_has_no_trunk(tmp_path):
    """Its own forward pass is what accelerate wraps."""

    class Bare(transformers.LlamaModel):
        def forward(self, input_ids=None, labels=None, **kwargs):
            output = super().forward(input_ids, **kwargs)
            if labels is not None:
                output["loss"] = output.last_hidden_state.float().square().mean()
            return output

    torch.manual_seed(0)
    model = Bare(make_policy().config)
    expected = coupling.score(coupling.measure(copy.deepcopy(model).eval(), probe_ids(), k=2))
    arguments = TrainingArguments(output_dir=str(tmp_path), max_steps=1, **ARGUMENTS, bf16=True)
    trainer = Trainer(model, arguments, train_dataset=Letters(), processing_class=make_tokenizer())
    callback = CouplingCallback(PROBES, every=1, k=2).attach(trainer)
    trainer.train()
    assert callback.history[0][SCORE] == pytest.approx(expected, abs=1e-6)


def make_sft_trainer(folder):
    rows = make_prompts().map(lambda row: {"text": row["prompt"] + " a b c"}, remove_columns="prompt")
    arguments = SFTConfig(output_dir=str(folder), max_steps=4, **ARGUMENTS | {"logging_steps": 1, "bf16": False})
    return SFTTrainer(make_policy(), args=arguments, train_dataset=rows, processing_class=make_tokenizer())


@pytest.mark.parametrize("make", [make_sft_trainer, make_grpo_trainer])
def test_the_trainers_of_trl(make, tmp_path):
    without = make(tmp_path / "a")
    without.train()
    trainer = make(tmp_path / "b")
    callback = CouplingCallback(PROBES, every=1, k=2).attach(trainer)
    trainer.train()
    assert torch.equal(weights(without), weights(trainer))
    last = trainer.state.global_step
    assert [row["step"] for row in callback.history] == list(range(last + 1))
    logged = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (without, trainer)]
    assert logged[0] == logged[1]
    rows = [row for row in trainer.state.log_history if SCORE in row]
    assert [row["step"] for row in rows] == list(range(last + 1))
    assert all(math.isfinite(row["coupling/overhead"]) for row in rows)
