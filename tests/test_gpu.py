"""The same numbers on an accelerator; run with ``pytest -m gpu`` where there is one."""

import copy

import numpy as np
import pytest
import torch

import coupling
from tests.helpers import make_ids, make_model

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
def test_the_gpu_measures_what_the_cpu_does(architecture, engine):
    model, ids = make_model(architecture), make_ids()
    cpu = coupling.measure(model, ids, k=4, engine=engine, tol=1e-6)
    gpu = coupling.measure(copy.deepcopy(model).to("cuda"), ids, k=4, engine=engine, tol=1e-6)
    assert gpu.attrs["device"] == "cuda"
    assert np.allclose(cpu.mismatch, gpu.mismatch, atol=2e-4)
    assert np.allclose(cpu.singular_values, gpu.singular_values, rtol=1e-4)


def test_the_bundled_checkpoint_on_the_gpu():
    run = coupling.analyze(prompts=["import os\nfor name in os."], device="auto")
    assert run.attrs["device"] == torch.accelerator.current_accelerator().type
