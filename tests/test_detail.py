"""What runs keep for pictures, and untrained baselines."""

import coupling.load
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

import coupling
from coupling import detail
from coupling.errors import CouplingError
from coupling.run_folder import to_bytes
from tests.helpers import BUNDLED, make_ids, make_model

PROMPTS = ["import os", "def f(x):\n    return x", "a = 1"]


def test_projections_are_a_jacobian_in_another_s_frames():
    model, ids = make_model("llama"), make_ids()
    run = coupling.measure(model, ids, k=(2, 4))
    recording = coupling.record(model, {"input_ids": ids})
    dense = [recording.jacobian(block, 10, 10).to_dense().double().numpy() for block in range(3)]
    left, _, right = np.linalg.svd(dense[2])
    expected = np.abs(left[:, :4].T @ dense[0] @ right[:4].T)
    kept = run.projection.sel(block=0, other_block=2).isel(detailed_prompt=0)
    assert kept.dtype == np.float32
    assert np.allclose(np.abs(kept), expected, atol=1e-4 * expected.max())
    m = np.linalg.norm(expected - np.diag(run.singular_values.sel(block=0).values[0])) / np.linalg.norm(
        run.singular_values.sel(block=0)
    )
    assert float(run.mismatch.sel(k=4, norm=2, block=0, other_block=2)[0]) == pytest.approx(m, abs=1e-4)
    stream = run.residual_stream.isel(detailed_prompt=0).transpose("layer", "token", "feature")
    assert np.allclose(stream, recording.trajectory, rtol=1e-6)


@pytest.mark.parametrize("kind", ["self", "context-input", "context-output"])
def test_projections_of_tokens(kind):
    run = coupling.measure(make_model("gpt2"), make_ids(tokens=5), k=2, kind=kind)
    assert run.projection.dims == ("detailed_prompt", "block", "token", "other_token", "rank", "other_rank")
    own = np.einsum("btri->btri", run.projection.values[0][:, range(5), range(5)])  # each in its own frames
    values = run.singular_values.values[0]
    assert np.allclose(np.diagonal(own, axis1=-2, axis2=-1), values, rtol=1e-4, atol=1e-5 * np.nanmax(values),
                       equal_nan=True)  # fmt: skip


def test_auto_keeps_the_first_prompts_that_fit_and_no_later_one(monkeypatch):
    model, prompts = make_model("llama"), [make_ids(seed, tokens) for seed, tokens in enumerate((4, 9, 3))]
    sizes = [coupling.measure(model, ids, k=3, detail="all") for ids in prompts]
    sizes = [sum(run[name].nbytes for name in detail.VARIABLES) for run in sizes]
    for budget, held in ((sum(sizes), [0, 1, 2]), (sizes[0] + sizes[2], [0]), (sizes[0] - 1, [])):
        monkeypatch.setattr(detail, "AUTO_BYTES", budget)
        run = coupling.measure(model, prompts, k=3)
        assert run.sizes["prompt"] == 3
        assert (run.detailed_prompt.values.tolist() if held else run.sizes.get("detailed_prompt", [])) == held
    assert "projection" not in coupling.measure(model, prompts, k=3, detail="none")
    assert coupling.measure(model, prompts, k=3, detail="all").detailed_prompt.values.tolist() == [0, 1, 2]


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
    ids = [coupling.load.load().tokenizer(text, return_tensors="pt")["input_ids"] for text in PROMPTS]
    expected = coupling.measure(model, ids, k=3, seed=5)
    assert np.array_equal(run.mismatch, expected.mismatch)
    assert run.attrs["weights"] == "random"
    assert coupling.analyze(prompts=PROMPTS, k=3).attrs["weights"] == "trained"
    other = coupling.analyze(prompts=PROMPTS, k=3, random_weights=True, seed=6)
    assert other.attrs["weights_hash"] != run.attrs["weights_hash"]
    excess = coupling.excess(1 - coupling.score(run, k=3), 1 - coupling.chance_score(run, k=3))
    assert abs(excess) < 0.03


def test_random_weights_need_no_weights(tmp_path):
    checkpoint = coupling.load.load()
    checkpoint.model.config.save_pretrained(tmp_path / "bare")
    checkpoint.tokenizer.save_pretrained(tmp_path / "bare")
    run = coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2, random_weights=True)
    assert run.sizes["block"] == 8
    with pytest.raises(CouplingError, match="holds no weights"):
        coupling.analyze(str(tmp_path / "bare"), PROMPTS[:1], k=2)
