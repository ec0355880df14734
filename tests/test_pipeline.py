"""``coupling.analyze``: resumed runs and untrained baselines."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

import coupling
from coupling import detail
from coupling.errors import CouplingError
from coupling.models.loading import load
from coupling.run_folder import to_bytes
from tests.helpers import BUNDLED

PROMPTS = ["import os", "def f(x):\n    return x", "a = 1"]


def test_a_resumed_run_keeps_the_same_prompts(tmp_path, monkeypatch):
    whole = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "whole")
    monkeypatch.setattr(detail, "AUTO_BYTES", whole.projection[0].nbytes + whole.residual_stream[0].nbytes)
    straight = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "straight")

    def stop(prompt, *_):
        if prompt == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "resumed", progress=stop)
    resumed = coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "resumed", resume=True)
    assert to_bytes(resumed) == to_bytes(straight)
    assert 0 < straight.sizes["detailed_prompt"] < 3
    with pytest.raises(CouplingError, match="differs in detail"):
        coupling.analyze(prompts=PROMPTS, k=2, out=tmp_path / "whole", resume=True, detail="none")


def test_random_weights_are_the_configuration_s_own_drawn_from_the_seed(tmp_path):
    run = coupling.analyze(prompts=PROMPTS, k=3, random_weights=True, seed=5)
    torch.manual_seed(5)
    model = AutoModel.from_config(AutoConfig.from_pretrained(BUNDLED), dtype=torch.float32).eval()
    ids = [load().tokenizer(text, return_tensors="pt")["input_ids"] for text in PROMPTS]
    expected = coupling.measure(model, ids, k=3, seed=5)
    assert np.array_equal(run.mismatch, expected.mismatch)
    assert run.attrs["weights"] == "random"
    assert coupling.analyze(prompts=PROMPTS, k=3).attrs["weights"] == "trained"
    other = coupling.analyze(prompts=PROMPTS, k=3, random_weights=True, seed=6)
    assert other.attrs["weights_hash"] != run.attrs["weights_hash"]
    excess = coupling.excess(1 - coupling.score(run, k=3), 1 - coupling.chance_score(run, k=3))
    assert abs(excess) < 0.03


def test_random_weights_need_no_weights(tmp_path):
    checkpoint = load()
    checkpoint.model.config.save_pretrained(tmp_path / "bare")
    checkpoint.tokenizer.save_pretrained(tmp_path / "bare")
    run = coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2, random_weights=True)
    assert run.sizes["block"] == 8
    with pytest.raises(CouplingError, match="contains no weights"):
        coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2)
