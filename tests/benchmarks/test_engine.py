"""The benchmark runs, its naive side agrees with ours, and its JSON is JSON."""

import json
import subprocess
import sys

import numpy as np
import torch

from benchmarks import engine


def test_both_sides_measure_the_same():
    model = engine.build(3, 48, 4, 10, "cpu")
    ids = torch.arange(10)[None]
    ours, stages = engine.engine_pipeline(model, ids, 5)
    model.set_attn_implementation("eager")
    for chunk in (1, 7):
        assert np.allclose(engine.naive_pipeline(model, ids, 5, chunk), ours, atol=1e-4)
    assert np.allclose(engine.reference(model, ids, 5), ours, atol=1e-4)
    assert all(seconds > 0 for seconds in stages.values())


def test_the_command_prints_json():
    options = "--layers 2 --hidden 32 --heads 2 --tokens 8 --repeats 1 --k 3 --json"
    command = [sys.executable, "-m", "benchmarks.engine", *options.split()]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(result.stdout)
    assert row["ratio"] > 0
    assert row["engine_error"] < 1e-3
    assert row["naive_error"] < 1e-3
