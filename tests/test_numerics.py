"""The numbers do not depend on the caller's context."""

import numpy as np
import pytest
import torch

import coupling
from tests.helpers import make_ids, make_model


@pytest.fixture
def expected():
    return coupling.measure(make_model("llama"), make_ids(), k=4)


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
def test_autocast_changes_nothing(engine):
    plain = coupling.measure(make_model("llama"), make_ids(), k=4, engine=engine)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run = coupling.measure(make_model("llama"), make_ids(), k=4, engine=engine)
        assert torch.is_autocast_enabled("cpu")
    assert np.array_equal(run.mismatch, plain.mismatch)
    assert np.array_equal(run.singular_values, plain.singular_values)


def test_inference_mode_around_the_call(expected):
    model = make_model("llama")
    with torch.inference_mode():
        run = coupling.measure(model, make_ids(), k=4)
        assert torch.is_inference_mode_enabled()
    assert np.array_equal(run.mismatch, expected.mismatch)


def test_a_model_made_in_inference_mode(expected):
    with torch.inference_mode():
        model = make_model("llama")
    assert next(model.parameters()).is_inference()
    run = coupling.measure(model, make_ids(), k=4)
    assert np.allclose(run.mismatch, expected.mismatch, atol=1e-6)
    assert run.attrs["linearization"] == "token-local"
