"""The calibrated measures of a run, against matrices of the same blocks worked by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

import coupling
from coupling import alignment, calibrated
from coupling.choices import CALIBRATED, CHANCE, SD
from coupling.errors import CouplingError
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import compare, factor
from tests.helpers import make_ids, make_model, reference_jacobian

NAMES = [measure.name for measure in CALIBRATED]
EARLIER = Path(__file__).parent / "fixtures/runs/0.1.0/depth"


@pytest.fixture(scope="module")
def run():
    return coupling.measure(make_model("llama"), [make_ids(0), make_ids(1)], k=(2, 4))


def test_values_are_those_of_float64_jacobians(run):
    model, ids, k = make_model("llama"), make_ids(0), 4
    last = ids.shape[1] - 1
    frames = [np.linalg.svd(reference_jacobian(model, ids, block, last, last).numpy()) for block in range(3)]
    jacobians = [(u * s) @ vh for u, s, vh in frames]
    for a, b in ((0, 2), (2, 1)):
        u, _, vh = frames[b]
        p, s = u[:, :k].T @ jacobians[a] @ vh[:k].T, frames[a][1][:k]
        expected = {
            "aligned_energy": (p**2).sum() / (s**2).sum(),
            "diagonal_share": (np.diag(p) ** 2).sum() / (p**2).sum(),
            "signed_diagonal": np.trace(p) / s.sum(),
            "absolute_diagonal": np.abs(np.diag(p)).sum() / s.sum(),
            "left_overlap": (np.cos(scipy_angles(frames[a][0][:, :k], u[:, :k])) ** 2).mean(),
            "right_overlap": (np.cos(scipy_angles(frames[a][2][:k].T, vh[:k].T)) ** 2).mean(),
        }
        for name, value in expected.items():
            measured = run[name].sel(k=k, block=a, other_block=b).values[0]
            # a singular vector's sign is arbitrary, but the sign of a pair is not
            assert measured == pytest.approx(value, abs=2e-4), name


def scipy_angles(a, b):
    import scipy.linalg

    return scipy.linalg.subspace_angles(a, b)


def test_layout(run):
    for name in NAMES:
        assert run[name].dims == ("prompt", "k", "block", "other_block")
        for suffix in (CHANCE, SD):
            assert run[name + suffix].dims == ("prompt", "k", "block")
            assert run[name + suffix].attrs["long_name"]
    assert np.allclose(run.diagonal_share_chance, [[[0.5], [0.25]]])
    assert np.allclose(run.left_overlap_chance, [[[2 / 32], [4 / 32]]])
    assert (run.signed_diagonal_chance == 0).all()
    for name in ("aligned_energy", "diagonal_share", "signed_diagonal", "left_overlap", "right_overlap"):
        own = run[name].values[:, :, range(3), range(3)]  # of a Jacobian in its own frames
        assert np.allclose(own, 1, atol=1e-5), name


@pytest.mark.parametrize("kind", ["self", "context-input", "context-output"])
def test_every_kind_has_them(kind):
    found = coupling.measure(make_model("llama"), make_ids(), k=3, kind=kind)
    for name in NAMES:
        assert found[name].dims == ("prompt", "block", "k", "token", "other_token")
        score = coupling.calibrated_score(found, name)
        assert all(np.isfinite([score.value, score.chance, score.z]))


def test_a_score_is_the_mean_over_pairs_of_distinct_blocks(run):
    off = [(a, b) for a in range(3) for b in range(3) if a != b]
    for name in NAMES:
        values, chance, sd = (run[name + part].sel(k=4).values for part in ("", CHANCE, SD))
        z = (values - chance[..., None]) / sd[..., None]
        score = coupling.calibrated_score(run, name)
        assert score.z == pytest.approx(np.mean([z[p, a, b] for p in range(2) for a, b in off])), name
        if name != "diagonal_share":
            assert score.value == pytest.approx(np.mean([values[p, a, b] for p in range(2) for a, b in off])), name
        assert score.chance == pytest.approx(np.mean([chance[p, a] for p in range(2) for a, _ in off])), name
    energy, share = (run[name].sel(k=4).values for name in ("aligned_energy", "diagonal_share"))
    on_diagonal, captured = (
        [sum(array[p, a, b] for a, b in off) for p in range(2)] for array in (energy * share, energy)
    )
    assert coupling.calibrated_score(run).value == pytest.approx(sum(on_diagonal) / sum(captured))
    rows = coupling.summarize(run)["calibrated"]
    assert [(row["k"], row["measure"]) for row in rows] == [(k, name) for k in (2, 4) for name in NAMES]
    assert rows[-1]["value"] == pytest.approx(coupling.calibrated_score(run, NAMES[-1]).value)
    difference = coupling.compare_runs(run, run)["calibrated"]
    assert [row["difference"] for row in difference] == [0] * len(rows)


def test_an_untrained_model_is_at_chance():
    """Frames of a model with random weights are nearly random frames: z is about 0, its spread about 1."""
    found = coupling.analyze(prompts=["import os", "def main():", "class A:"], k=10, random_weights=True)
    for name in NAMES:
        values, chance, sd = calibrated.over_pairs(found, name)
        z = ((values - chance) / sd).values
        assert abs(np.nanmean(z)) < 0.5, name
        assert 0.5 < np.nanstd(z) < 2, name


def test_the_fourth_moment_is_estimated_for_both_engines():
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(80, 80, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    s = 0.95 ** torch.arange(80, dtype=torch.float64)
    jacobian = DenseJacobian((u * s) @ v.T)
    for engine in ("dense", "matrix-free"):
        moments = factor(jacobian, 4, n_compared=3, engine=engine).moments
        assert moments.fourth == pytest.approx(float((s**4).sum()), rel=0.1)


def test_zero_jacobians_have_none():
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(12, 12, generator=generator, dtype=torch.float64), torch.zeros(12, 12, dtype=torch.float64)]
    factored = [factor(DenseJacobian(matrix), 3, n_compared=2) for matrix in matrices]
    found = compare(factored, factored, (2, 3))
    for name in NAMES:
        assert np.isfinite(found[name][:, 0, 0]).all()
        assert np.isnan(found[name][:, 1]).all(), name
        assert np.isnan(found[name][:, :, 1]).all(), name
        assert np.isnan(found[name + CHANCE][:, 1]).all(), name


def test_at_k_1_the_diagonal_is_everything():
    found = coupling.measure(make_model("llama"), make_ids(), k=1)
    assert coupling.calibrated_score(found, "diagonal_share") == calibrated.CalibratedScore(1.0, 1.0, 0.0)


def test_a_run_of_an_earlier_version_has_overlaps_from_its_angles():
    earlier = coupling.open_run(EARLIER)
    assert [measure.name for measure in calibrated.measures_in(earlier)] == ["left_overlap", "right_overlap"]
    now = coupling.analyze(prompts=earlier.prompt_text.values.tolist(), k=(3, 5))
    for name in ("left_overlap", "right_overlap"):
        then, today = (coupling.calibrated_score(one, name, 5) for one in (earlier, now))
        assert (then.value, then.chance, then.z) == pytest.approx((today.value, today.chance, today.z), rel=1e-3)
    with pytest.raises(CouplingError, match="an earlier version measured it"):
        coupling.calibrated_score(earlier, "diagonal_share")
    assert len(coupling.compare_runs(earlier, now)["calibrated"]) == 4


def test_refusals(run):
    with pytest.raises(CouplingError, match="`measure` is 'nothing', but must be one of diagonal_share"):
        coupling.calibrated_score(run, "nothing")
    with pytest.raises(CouplingError, match="not measured at K = 7"):
        coupling.calibrated_score(run, k=7)


def test_every_measure_has_a_null():
    moments = coupling.JacobianMoments(2.0, 0.5, (12, 12), 3.0)
    for name in NAMES:
        null = alignment.null(name, moments, np.array([1.5, 0.5]), 2)
        assert np.isfinite([null.mean, null.sd]).all()
