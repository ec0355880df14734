"""Jacobians in each other's frames, and how the engine is chosen."""

import numpy as np

import coupling
from tests.helpers import make_ids, make_model


def test_engines_agree():
    model, ids = make_model("gpt2"), make_ids()
    dense, free = (coupling.measure(model, ids, k=5, engine=e, tol=1e-6) for e in ("dense", "matrix-free"))
    assert dense.attrs["engine"] == "dense"
    assert free.attrs["engine"] == "matrix-free"
    for name in ("mismatch", "mismatch_swapped", "mismatch_signed", "singular_values"):
        assert np.allclose(dense[name], free[name], atol=1e-4)
    assert np.allclose(dense.chance, free.chance, rtol=0.03)


def test_dropping_the_dense_matrices_changes_nothing(monkeypatch):
    model, ids = make_model("gpt2"), make_ids()
    kept = coupling.measure(model, ids, k=5)
    monkeypatch.setattr("coupling.linalg.pairwise.KEPT_MEMORY", 0)
    assert np.allclose(kept.mismatch, coupling.measure(model, ids, k=5).mismatch, atol=1e-5)


def test_angles_of_a_block_with_itself_are_zero():
    run = coupling.measure(make_model("llama"), make_ids(), k=(2, 4))
    own = run.left_angle.values[0, 1, range(3), range(3)]
    assert np.allclose(own, 0, atol=1e-6)
    assert np.isnan(run.left_angle.sel(k=2).isel(rank=slice(2, None))).all()
    other = run.right_angle.values[0, 1, 0, 1]
    assert (other > 0.01).any()
    assert (np.diff(other) >= 0).all()


def test_engines_that_differ_between_prompts_are_both_named(monkeypatch):
    def few_are_dense(shape, k, extra_columns):
        return "dense" if extra_columns < 150 else "matrix-free"

    monkeypatch.setattr("coupling.linalg.pairwise.choose_engine", few_are_dense)
    run = coupling.measure(make_model("llama"), [make_ids(0, 9), make_ids(1, 20)], k=4, kind="self")
    assert run.attrs["engine"] == "dense+matrix-free"
    assert coupling.summarize(run)["provenance"]["engine"] == "dense+matrix-free"
