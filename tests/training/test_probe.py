"""Probe: what belongs to one probe, and a model of another shape."""

import pytest
import torch

import coupling
from coupling.choices import CALIBRATED
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


def test_k_as_a_share_of_the_width_and_the_calibrated_measures(tmp_path):
    model = make_policy().eval()
    width = model.config.hidden_size
    share, number = Probe(PROMPTS, k="25%"), Probe(PROMPTS, k=width // 4)
    as_share, as_number = share.measure(model), number.measure(model)
    assert as_share.pop("coupling/k25pct") == width // 4
    assert {name.replace("k25pct", f"k{width // 4}"): value for name, value in as_share.items()} == as_number
    run = coupling.measure(model, PROMPTS[0][None][0], k=width // 4)
    for measure in CALIBRATED:
        found = coupling.calibrated_score(run, measure.name)
        assert as_share[f"coupling/{measure.name}_k25pct"] == pytest.approx(found.value, rel=1e-6)
        assert as_share[f"coupling/{measure.name}_z_k25pct"] == pytest.approx(found.z, rel=1e-6)
    share.save_initial(tmp_path)
    assert Probe(PROMPTS, k="25%").load_initial(tmp_path)
    assert not number.load_initial(tmp_path)


def test_one_text_is_one_prompt():
    tokenizer, model = make_tokenizer(), make_policy().eval()
    assert Probe("a b c", k=2).measure(model, tokenizer) == Probe(["a b c"], k=2).measure(model, tokenizer)
