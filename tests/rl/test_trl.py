"""What this package takes from TRL besides its public interface: an upgrade that changes it fails here first."""

import inspect
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from trl import GRPOTrainer

from tests.tiny_policy import make_trainer

ROOT = Path(__file__).parents[2]
SIGNATURES = {
    "_compute_loss": "self model inputs",
    "_calculate_rewards": "self inputs prompts completions completion_ids_list",
    "_generate_single_turn": "self prompt_ids images multimodal_fields num_generations has_tool_images",
    "_get_per_token_logps_and_entropies": (
        "self model input_ids attention_mask logits_to_keep batch_size compute_entropy compute_aux_loss pixel_values "
        "image_grid_thw num_images pixel_attention_mask spatial_shapes num_tiles image_sizes token_type_ids "
        "mm_token_type_ids image_position_ids"
    ),
    "_prepare_inputs": "self generation_batch",
    "training_step": "self model inputs num_items_in_batch",
}
"""Methods of GRPOTrainer that are overridden, or whose order of events P3O relies on."""
ATTRIBUTES = {
    "_step": int,
    "_buffered_inputs": (list, type(None)),
    "_metrics": dict,
    "beta": float,
    "aux_loss_enabled": bool,
    "use_vllm": bool,
    "reward_funcs": list,
    "current_gradient_accumulation_steps": int,
}
"""Attributes of its instances that are read, and their types."""
INPUTS = (
    "prompt_ids",
    "prompt_mask",
    "completion_ids",
    "completion_mask",
    "advantages",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
    "tool_mask",
)
"""Entries of its batches that are read."""


def test_the_versions_of_trl_that_may_be_installed_are_bounded_on_both_sides():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (trl,) = [Requirement(text) for text in extras["rl"] if text.startswith("trl")]
    operators = {part.operator for part in trl.specifier}
    assert operators == {">=", "<"}
    upper = next(Version(part.version) for part in trl.specifier if part.operator == "<")
    lower = next(Version(part.version) for part in trl.specifier if part.operator == ">=")
    assert (upper.major, upper.minor) == (lower.major, lower.minor + 1)  # private methods may change with any version


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_of_an_overridden_method(name):
    assert " ".join(inspect.signature(getattr(GRPOTrainer, name)).parameters) == SIGNATURES[name]


def test_the_attributes_that_are_read(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.train()
    for name, kind in ATTRIBUTES.items():
        assert isinstance(getattr(trainer, name), kind), name
    assert set(trainer._metrics) == {"train", "eval"}
    assert len(trainer._buffered_inputs) == trainer.args.steps_per_generation
    assert set(INPUTS[:5]) <= set(trainer._buffered_inputs[0])


@pytest.mark.parametrize("name", INPUTS)
def test_the_entries_of_a_batch_that_are_read(name):
    assert f'output["{name}"]' in inspect.getsource(GRPOTrainer) or f'"{name}": {name}' in inspect.getsource(
        GRPOTrainer
    )


def test_a_step_takes_micro_batches_in_the_order_that_the_look_ahead_assumes():
    source = inspect.getsource(GRPOTrainer._prepare_inputs)
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in source
    assert "self._step += 1" in inspect.getsource(GRPOTrainer.training_step)
