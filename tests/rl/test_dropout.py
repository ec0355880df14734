"""Dropout: it is found, turned off and on again, and never read as the policies' difference."""

import pytest
import torch
from peft import LoraConfig
from torch import nn

from coupling.rl.dropout import has_dropout, without_dropout
from tests.tiny_policy import fixed_inputs, logged, loss_and_gradient, make_policy, make_trainer

TWICE = {"num_iterations": 2, "max_steps": 2}
SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}


def lora(rate):
    return LoraConfig(r=4, target_modules="all-linear", lora_dropout=rate, init_lora_weights=False)


def test_layers_and_numbers_are_found():
    assert not has_dropout(make_policy())
    assert has_dropout(make_policy(attention_dropout=0.1))
    assert not has_dropout(nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2)))
    assert has_dropout(nn.Sequential(nn.Sequential(nn.Dropout(0.1))))


def test_every_module_is_in_its_former_mode_again():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).train()
    model[1].eval()
    with without_dropout(model):
        assert torch.equal(model(torch.ones(9)), torch.ones(9))
    assert [module.training for module in model.modules()] == [True, True, False]
    with pytest.raises(TypeError), without_dropout(model):
        model(None)
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize("scope", ["batch", "micro"])
@pytest.mark.parametrize("adapter", [True, False], ids=["adapters", "attention"])
def test_a_fresh_step_has_ratio_1_with_dropout(adapter, scope, tmp_path):
    policy = make_policy() if adapter else make_policy(attention_dropout=0.5)
    peft = lora(0.5) if adapter else None
    trainer = make_trainer(tmp_path, policy, peft_config=peft, ess_scope=scope, **TWICE, **SPLIT)
    trainer.train()
    for name in ("p3o/ess", "p3o/ess_micro", "p3o/ratio_max"):
        assert logged(trainer, name)[0] == pytest.approx(1, abs=1e-6)
    assert logged(trainer, "p3o/ess")[1] < 1  # the second update on the same rollouts


def test_the_values_are_without_dropout_and_the_gradient_is_with_it(tmp_path):
    trainer = make_trainer(tmp_path / "a", make_policy(attention_dropout=0.5))
    inputs = fixed_inputs()
    exact, gradient = loss_and_gradient(make_trainer(tmp_path / "b"), inputs)
    results = [loss_and_gradient(trainer, inputs) for _ in range(2)]
    for loss, with_dropout in results:
        assert float(loss) == pytest.approx(float(exact), rel=1e-6)
        assert not torch.allclose(with_dropout, gradient, rtol=1e-2)
    assert not torch.equal(results[0][1], results[1][1])
    assert all(module.training for module in trainer.model.modules())
