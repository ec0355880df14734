"""The engine's side of the benchmark: its numbers against float64, and what it reports."""

import numpy as np
import torch

from benchmarks.engine import build
from benchmarks.engine_side import (
    STAGES,
    engine_pipeline,
    engine_stages,
    gemm_peak,
    measure_engine,
    reference,
    stage_operations,
    width_of,
)


def test_the_engine_agrees_with_float64():
    model, ids = build(3, 48, 4, 10, "cpu"), torch.arange(10)[None]
    mismatch, stages = engine_pipeline(model, ids, 5), engine_stages(model, ids, 5)
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
        assert result["engine_seconds"] > sum(result["stages"].values()) / 4 > 0
        operations = stage_operations(model, torch.arange(result["tokens"])[None], 3)
        assert tuple(result["bounds"]) == STAGES
        assert np.isclose(sum(operations.values()) / result["gemm_peak"], result["bound_seconds"])
        assert np.isclose(result["bound_seconds"] / result["engine_seconds"], result["share_of_bound"])
        assert result["default_call_seconds"] > 0
    assert "n = 9: float64 reference" in capsys.readouterr().err


def test_the_operations_are_those_of_all_layers_but_the_last():
    """Of the 12 d^2 weights of a block all but the 4 d^2 of the last layer, and the small matrices of the heads."""
    model, ids = build(2, 32, 2, 9, "cpu"), torch.arange(8)[None]
    stage_operations(model, ids, 3)  # the first time also checks how the blocks can be replayed
    operations = stage_operations(model, ids, 3)
    assert 2 * 2 * 8 * 32**3 < operations["Jacobians"] < 2 * 2 * 12 * 32**3
    # a forward pass of 8 tokens through the 12 d^2 weights
    assert 2 * 2 * 8 * 12 * 32**2 <= operations["forward and record"] < 2 * 2 * 8 * 14 * 32**2


def test_the_width_is_that_of_the_stream():
    assert width_of(build(1, 24, 2, 9, "cpu")) == 24


def test_the_peak_of_this_machine_is_a_rate():
    assert 1e6 < gemm_peak(64, "cpu") < 1e15
