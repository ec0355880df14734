"""Features of TRL's trainer beneath P3O: some updates with each, and the same ones where it should change nothing."""

import pytest
import torch
from datasets import IterableDataset

from coupling.rl import P3OConfig, P3OTrainer
from tests.tiny_policy import (
    TRAINING,
    count_a,
    logged,
    make_policy,
    make_prompts,
    make_tokenizer,
    make_trainer,
    scripted,
    weights,
)

SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_iterations": 2, "max_steps": 2}


def count_b(completions, **_):
    return [float(text.split().count("b")) for text in completions]


@pytest.mark.parametrize("scope", ["batch", "micro"])
def test_gradient_checkpointing_changes_nothing(scope, tmp_path):
    trained = []
    for checkpointing in (False, True):
        options = SPLIT | {"ess_scope": scope, "gradient_checkpointing": checkpointing}
        trainer = make_trainer(tmp_path, rollout_func=scripted, **options)
        trainer.train()
        trained.append(weights(trainer))
    assert torch.allclose(*trained, atol=1e-6)


def test_bfloat16(tmp_path):
    trainer = make_trainer(tmp_path, rollout_func=scripted, **SPLIT | {"bf16": True})
    exact = make_trainer(tmp_path, rollout_func=scripted, **SPLIT)
    for each in (trainer, exact):
        each.train()
    assert logged(trainer, "p3o/ess") == pytest.approx(logged(exact, "p3o/ess"), rel=0.05)
    assert logged(trainer, "p3o/nonfinite") == [0.0, 0.0]


@pytest.mark.slow
def test_a_compiled_model_trains_alike(tmp_path):
    options = SPLIT | {"optim": "sgd", "learning_rate": 1.0}  # Adam's first steps magnify rounding
    plain, compiled = (
        make_trainer(tmp_path, rollout_func=scripted, torch_compile=way, **options) for way in (False, True)
    )
    for each in (plain, compiled):
        each.train()
    assert type(compiled.model_wrapped).__name__ == "OptimizedModule"
    assert logged(compiled, "p3o/ess") == pytest.approx(logged(plain, "p3o/ess"), rel=1e-5)
    assert torch.allclose(weights(plain), weights(compiled), atol=1e-6)


@pytest.mark.parametrize("iterable", [False, True])
def test_two_rewards_and_data_that_are_iterated(iterable, tmp_path):
    rows = make_prompts()
    trainer = P3OTrainer(
        make_policy(),
        reward_funcs=[count_a, count_b],
        args=P3OConfig(output_dir=str(tmp_path), **TRAINING | {"reward_weights": [1.0, 0.5]}),
        train_dataset=IterableDataset.from_generator(lambda: iter(rows)) if iterable else rows,
        processing_class=make_tokenizer(),
    )
    trainer.train()
    assert len(logged(trainer, "p3o/ess")) == 2
    rewards = [logged(trainer, f"rewards/{name}/mean") for name in ("count_a", "count_b")]
    expected = [a + 0.5 * b for a, b in zip(*rewards, strict=True)]
    assert logged(trainer, "reward") == pytest.approx(expected, rel=1e-5)
