"""What coupling is compared with: where it is in a run, and that a run without it is as before."""

import numpy as np
import pytest
import torch

import coupling
from coupling import representation
from coupling.analyses.correlation.measures import OF_BASELINES, is_measure, measures_of
from coupling.baseline_means import baseline_means
from coupling.baselines import JacobianProperties
from coupling.choices import BASELINES
from coupling.errors import CouplingError
from coupling.linalg.jacobian import DenseJacobian

PROMPTS = ["import os\nfor name in os.listdir():", "def main(x):\n    return x"]


@pytest.fixture(scope="module")
def run():
    return coupling.analyze(prompts=PROMPTS, k=3, baselines=True, detail="all")


def test_every_baseline_is_measured(run):
    means = baseline_means(run)
    assert list(means) == [baseline.label for baseline in BASELINES] == list(OF_BASELINES)
    assert all(np.isfinite(value) for value in means.values())
    measures = measures_of(run)
    assert all(map(is_measure, measures))
    assert {label: measures[label] for label in means} == means
    assert means["spectral norm"] == pytest.approx(float(run.singular_values.isel(rank=0).mean()))


def test_those_of_the_residual_stream_leave_the_first_token_out(run):
    stream = run.residual_stream.isel(detailed_prompt=0).values[: int(run.n_tokens[0])].transpose(1, 0, 2)[:, 1:]
    assert run.prompt_entropy.values[0, 3] == pytest.approx(representation.prompt_entropy(stream[3]), rel=1e-4)
    assert run.layer_cka.values[0, 2] == pytest.approx(representation.linear_cka(stream[2], stream[3]), rel=1e-4)
    assert np.isnan(run.layer_cosine.values[:, -1]).all()


def test_the_effective_rank_is_a_participation_ratio():
    matrix = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    moments = coupling.JacobianMoments(6**0.5, 1.0, (3, 3), 18.0)
    found = JacobianProperties.of(DenseJacobian(matrix), moments)
    assert found.effective_rank == pytest.approx(36 / 18)
    assert found.non_normality == 0


def test_nothing_else_changes(run):
    plain = coupling.analyze(prompts=PROMPTS, k=3)
    assert baseline_means(plain) == {}
    assert set(plain) < set(run)
    for name in plain:
        if plain[name].dtype.kind == "f":
            assert np.array_equal(plain[name], run[name], equal_nan=True), name
    assert plain.attrs["weights_hash"] == run.attrs["weights_hash"]
    assert plain.attrs["architecture"] == run.attrs["architecture"]


def test_kinds_that_compare_tokens_have_those_of_the_stream_alone():
    tokens = coupling.analyze(prompts=PROMPTS[1:], k=3, kind="context-output", baselines=True)
    assert {"loss", "prompt_entropy"} <= set(tokens)
    assert "effective_rank" not in tokens


def test_a_streamed_model_is_refused():
    with pytest.raises(CouplingError, match="`baselines` needs the whole model in memory"):
        coupling.analyze(prompts=PROMPTS, baselines=True, stream=True)
