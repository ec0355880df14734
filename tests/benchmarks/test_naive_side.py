"""The naive side of the benchmark agrees with the engine, and is timed from some of its rows."""

import numpy as np
import pytest
import torch
import transformers

from benchmarks import naive_side
from benchmarks.engine import build
from benchmarks.engine_side import engine_pipeline, reference
from benchmarks.naive_side import (
    CHUNKS,
    best_chunk,
    calls_of,
    measure_naive,
    naive_pipeline,
    naive_rows,
    output_of,
)


@pytest.fixture
def model():
    model = build(3, 48, 4, 10, "cpu")
    model.set_attn_implementation("eager")
    return model


IDS = torch.arange(10)[None]


def test_both_sides_measure_the_same(model):
    mismatch = engine_pipeline(model, IDS, 5)
    for chunk in (1, 7):
        assert np.allclose(naive_pipeline(model, IDS, 5, chunk), mismatch, atol=1e-4)


def test_blocks_that_take_more_than_the_stream():
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaModel(config).eval()
    assert np.allclose(naive_pipeline(model, IDS, 3, 16), reference(model, IDS, 3), atol=1e-4)


def test_some_rows_of_the_jacobian(model):
    calls = calls_of(model, IDS)
    assert [call.block for call in calls] == list(model.h)
    update, stream = output_of(calls[1])
    whole = naive_rows(update, stream, 16)
    assert whole.shape == (48, 48)
    assert torch.allclose(naive_rows(update, stream, 1, rows=5), whole[:5], atol=1e-6)


def test_only_the_rows_are_scaled(model, monkeypatch):
    """A clock that counts the passes: a second for the model, one for each block, and one for each row."""
    time = 0

    def taking(seconds, function):
        def timed(*arguments, **options):
            nonlocal time
            time += seconds(options)
            return function(*arguments, **options)

        return timed

    for name, seconds in (
        ("calls_of", lambda _: 1),
        ("output_of", lambda _: 1),
        ("naive_rows", lambda options: options["rows"]),
    ):
        monkeypatch.setattr(naive_side, name, taking(seconds, getattr(naive_side, name)))
    for rows in (12, 24):
        assert naive_side.naive_rows_seconds(model, IDS, 4, rows, lambda: time) == 1 + 3 + 3 * 48


def test_svds_and_pairs_are_timed_once_each(model, monkeypatch):
    """A clock that counts them; what makes the Jacobians is not in the time."""
    time = 0

    def counted(function):
        def call(*arguments):
            nonlocal time
            time += 1
            return function(*arguments)

        return call

    for name in ("with_full_svd", "mismatch_of_pairs"):
        monkeypatch.setattr(naive_side, name, counted(getattr(naive_side, name)))
    assert naive_side.svd_and_pairs_seconds(model, IDS, 5, lambda: time) == 3 + 1


def test_the_best_chunk_is_one_of_those_tried(model):
    assert best_chunk(model, IDS) in CHUNKS


def test_what_is_added_to_a_result(model, monkeypatch):
    monkeypatch.setattr("benchmarks.naive_side.best_chunk", lambda *_: 8)
    result = {"engine_seconds": 2.0, "exact": reference(model, IDS, 5)}
    measure_naive(model, IDS, result, 5, rows=48)
    assert result["naive_error"] < 1e-3
    assert (result["naive_chunk"], result["naive_rows"]) == (8, 48)
    assert result["ratio"] == result["naive_seconds"] / 2
    partial = {"engine_seconds": 2.0, "exact": None}
    measure_naive(model, IDS, partial, 5, rows=12)
    assert partial["naive_rows"] == 12
    assert "naive_error" not in partial
