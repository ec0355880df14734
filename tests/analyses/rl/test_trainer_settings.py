"""Settings of TRL's trainer and of adapters: defaults, the user's own, and those that are refused."""

import sys

import pytest
from trl import GRPOConfig

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.trainer_settings import lora_config, trainer_settings
from coupling.rl import P3OConfig


def settings(trainer, config_class=GRPOConfig, *, accelerator=False, **changes):
    config = from_mapping({"data": {"task": "brackets"}, "trainer": trainer} | changes)
    return trainer_settings(config, config_class, accelerator=accelerator)


def test_trainer_settings_are_checked_against_trl():
    assert settings({"learning_rate": 1e-3})["learning_rate"] == 1e-3
    with pytest.raises(
        CouplingError, match=r"trainer\.learning_rat \(did you mean learning_rate\?\); known are the fields of trl"
    ):
        settings({"learning_rat": 1e-3})
    with pytest.raises(CouplingError, match=r"trainer\.loss_type cannot be set: objective chooses it"):
        settings({"loss_type": "grpo"})


def test_the_defaults_suit_the_table_and_the_machine():
    on_the_cpu, accelerated = settings({}, model="m"), settings({}, model="m", accelerator=True)
    for given in (on_the_cpu, accelerated):
        assert (given["logging_steps"], given["report_to"], given["save_strategy"]) == (1, "none", "no")
    assert on_the_cpu["use_cpu"] is True
    assert "use_cpu" not in accelerated
    assert settings({"report_to": "wandb"})["report_to"] == "wandb"
    assert settings({}, seed=7)["seed"] == 7


def test_a_setting_of_p3o_alone_is_named_as_such():
    with pytest.raises(CouplingError, match=r"trainer\.ess_scope with objective grpo: it belongs to p3o and p4o"):
        settings({"ess_scope": "micro"}, objective="grpo")


def test_numbers_that_yaml_reads_as_text_become_numbers():
    assert settings({"learning_rate": "1e-4", "max_steps": 3})["learning_rate"] == 1e-4
    with pytest.raises(CouplingError, match="learning_rate is 'fast', but must be a number"):
        settings({"learning_rate": "fast"})


def test_p3o_refuses_a_clip_range_even_at_its_default():
    with pytest.raises(CouplingError, match="epsilon cannot be set for p3o"):
        settings({"epsilon": 0.2}, P3OConfig, objective="p3o")
    assert settings({"epsilon": 0.2}, objective="grpo")["epsilon"] == 0.2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"per_device_train_batch_size": 0},
            "per_device_train_batch_size is 0, but must be a whole number of at least",
        ),
        ({"num_iterations": 0}, "trainer.num_iterations is 0"),
        ({"max_steps": 0}, "trainer.max_steps is 0, but must be"),
        ({"max_steps": True}, "trainer.max_steps is True"),
        ({"save_steps": 0}, "save_steps is 0, but must be a number above 0"),
        ({"beta": -1.0}, "trainer.beta is -1.0, but must be a number of at least 0"),
        ({"learning_rate": -1.0}, "trainer.learning_rate is -1.0, but must be a number of at least 0"),
        ({"max_steps": 2.5}, "trainer.max_steps is 2.5, but must be a whole number"),
        ({"learning_rate": [1]}, "trainer.learning_rate is .* but must be a number"),
        ({"top_p": 1.5}, "trainer.top_p is 1.5, but must be at most 1"),
        ({"bf16": "no"}, "trainer.bf16 is 'no', but must be true or false"),
        ({"log_completions": 1}, "trainer.log_completions is 1, but must be true or false"),
        ({"temperature": 0}, "trainer.temperature is 0, but must be a number above 0"),
        ({"resume_from_checkpoint": "x"}, "`resume=True` continues from the last checkpoint"),
        ({"eval_strategy": "steps"}, "evaluation is a key beside trainer"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_loaded(setting, message):
    with pytest.raises(CouplingError, match=message):
        settings(setting)


@pytest.mark.parametrize("name", ["beta", "learning_rate", "max_grad_norm"])
def test_settings_that_may_be_zero(name):
    assert settings({name: 0.0})[name] == 0.0


def lora(**given):
    return lora_config(from_mapping({"data": {"task": "brackets"}, "lora": given}))


def test_adapters_are_pefts(monkeypatch):
    assert lora_config(from_mapping({"data": {"task": "brackets"}})) is None
    adapter = lora(r=4, lora_alpha=8)
    assert (adapter.r, adapter.lora_alpha, adapter.task_type) == (4, 8, "CAUSAL_LM")
    with pytest.raises(CouplingError, match=r"no setting lora\.rank.*known are .*lora_alpha"):
        lora(rank=4)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CouplingError, match=r"lora needs the peft package.*pip install 'block-coupling\[lora\]'"):
        lora(r=4)
