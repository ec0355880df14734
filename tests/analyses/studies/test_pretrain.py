"""The training of the bundled checkpoint, in miniature, and the loss that the checkpoint states."""

import json
from importlib.resources import files

import pytest
import torch
import transformers

from coupling.analyses.studies.corpus import standard_library
from coupling.analyses.studies.pretrain import pretrain

TINY = {"layers": 2, "hidden": 16, "heads": 2, "feedforward": 24, "vocabulary": 300, "context": 32, "batch": 2}


@pytest.mark.slow
def test_training_is_deterministic_and_learns(tmp_path):
    first, second = (
        pretrain(tmp_path / name, steps=30, seed=0, learning_rate=1e-2, **TINY) for name in ("first", "second")
    )
    assert first["held_out_loss_nats_per_token"] < 0.95 * torch.log(torch.tensor(300.0))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
    assert {k: v for k, v in first.items() if k != "seconds"} == {k: v for k, v in second.items() if k != "seconds"}
    assert json.loads((tmp_path / "first/training.json").read_text()) == first


def test_the_bundled_checkpoint_has_the_loss_that_it_states():
    """On the held-out text that this Python version shares with the one that it was trained on."""
    folder = files("coupling") / "data/checkpoint"
    stated = json.loads((folder / "training.json").read_text())["held_out_loss_nats_per_token"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    losses = []
    for module in [module for module in standard_library() if module.held_out][:6]:
        ids = tokenizer(module.text, return_tensors="pt", verbose=False)["input_ids"][:, :256]
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=ids).loss))
    assert sum(losses) / len(losses) == pytest.approx(stated, rel=0.25)
