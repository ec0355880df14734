"""Probe: what belongs to one probe, and a model of another shape."""

import pytest
import torch

from coupling.training.probe import Probe
from tests.tiny_policy import make_policy, make_tokenizer

PROMPTS = [torch.tensor([[2, 3, 4, 5]])]


def test_frames_are_saved_only_once_there_are_some(tmp_path):
    probe = Probe(PROMPTS, k=2)
    probe.save_initial(tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = probe.measure(make_policy().eval())
    probe.save_initial(tmp_path)
    other = Probe(PROMPTS, k=2)
    assert other.load_initial(tmp_path)
    assert other.measure(make_policy().eval()) == pytest.approx(first, abs=1e-9)
    moved = other.measure(make_policy(seed=1).eval())
    assert moved["coupling/mismatch_to_initial"] > 0.5
    assert not Probe([torch.tensor([[2, 3, 4]])], k=2).load_initial(tmp_path)


def test_a_model_of_another_shape_is_not_compared():
    probe = Probe(PROMPTS, k=2)
    probe.measure(make_policy().eval())
    model = make_policy().eval()
    del model.model.layers[2]
    with pytest.warns(UserWarning, match="another shape"):
        metrics = probe.measure(model)
    assert "coupling/score_k2_p2" in metrics
    assert not any("to_initial" in name for name in metrics)


def test_one_text_is_one_prompt():
    tokenizer, model = make_tokenizer(), make_policy().eval()
    assert Probe("a b c", k=2).measure(model, tokenizer) == Probe(["a b c"], k=2).measure(model, tokenizer)
