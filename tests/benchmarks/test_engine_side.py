"""The engine's side of the benchmark: its numbers against float64, and what it reports."""

import numpy as np
import torch

from benchmarks.engine import build
from benchmarks.engine_side import STAGES, engine_pipeline, gemm_peak, jacobian_operations, measure_engine, reference


def test_the_engine_agrees_with_float64():
    model, ids = build(3, 48, 4, 10, "cpu"), torch.arange(10)[None]
    mismatch, stages = engine_pipeline(model, ids, 5)
    assert np.allclose(reference(model, ids, 5), mismatch, atol=1e-4)
    assert tuple(stages) == STAGES
    assert all(seconds > 0 for seconds in stages.values())
    assert next(model.parameters()).dtype == torch.float32  # the reference works on a copy


def test_what_is_reported_for_each_length(capsys):
    model = build(2, 32, 2, 9, "cpu")
    results = measure_engine(model, [torch.arange(n)[None] for n in (8, 9)], 3, repeats=2)
    assert [result["tokens"] for result in results] == [8, 9]
    for result in results:
        assert result["engine_error"] < 1e-3
        assert result["engine_seconds"] > sum(result["stages"].values()) / 2 > 0
        operations = result["jacobian_rate"] * result["stages"]["Jacobians"]
        assert np.isclose(operations, jacobian_operations(model, torch.arange(8)[None]))
        assert np.isclose(operations / result["gemm_peak"], result["jacobian_bound_seconds"])
        assert result["default_call_seconds"] > 0
    assert "n = 9: float64 reference" in capsys.readouterr().err


def test_the_operations_are_those_of_all_layers_but_the_last():
    """Of the 12 d^2 weights of a block all but the 4 d^2 of the last layer, and the small matrices of the heads."""
    operations = jacobian_operations(build(2, 32, 2, 9, "cpu"), torch.arange(8)[None])
    assert 2 * 2 * 8 * 32**3 < operations < 2 * 2 * 12 * 32**3


def test_the_peak_of_this_machine_is_a_rate():
    assert 1e6 < gemm_peak(64, "cpu") < 1e15
