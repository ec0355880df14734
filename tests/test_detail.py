"""What runs keep for pictures."""

import numpy as np
import pytest

import coupling
from coupling import detail
from coupling.dataset import DETAIL_VARIABLES
from tests.helpers import make_ids, make_model


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
    sizes = [sum(run[name].nbytes for name in DETAIL_VARIABLES) for run in sizes]
    for budget, held in ((sum(sizes), [0, 1, 2]), (sizes[0] + sizes[2], [0]), (sizes[0] - 1, [])):
        monkeypatch.setattr(detail, "AUTO_BYTES", budget)
        run = coupling.measure(model, prompts, k=3)
        assert run.sizes["prompt"] == 3
        assert (run.detailed_prompt.values.tolist() if held else run.sizes.get("detailed_prompt", [])) == held
    assert "projection" not in coupling.measure(model, prompts, k=3, detail="none")
    with pytest.raises(coupling.CouplingError, match="`detail` is 'some', but must be one of auto, all, none"):
        coupling.measure(model, prompts, k=3, detail="some")
    assert coupling.measure(model, prompts, k=3, detail="all").detailed_prompt.values.tolist() == [0, 1, 2]
