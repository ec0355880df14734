"""``python -m benchmarks.engine``: it runs, and its JSON is JSON."""

import json
import subprocess
import sys

import torch

from benchmarks import engine


def test_the_model_has_the_shape_that_was_asked_for():
    model = engine.build(3, 48, 4, 10, "cpu")
    assert (len(model.h), model.config.n_embd, model.config.n_head, model.config.n_positions) == (3, 48, 4, 10)
    assert torch.equal(model.wte.weight, engine.build(3, 48, 4, 10, "cpu").wte.weight)


def test_the_command_prints_json():
    options = "--layers 2 --hidden 32 --heads 2 --tokens 8 --repeats 1 --k 3 --json"
    command = [sys.executable, "-m", "benchmarks.engine", *options.split()]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(result.stdout)
    assert row["ratio"] > 0
    assert row["engine_error"] < 1e-3
    assert row["naive_error"] < 1e-3


def test_the_command_prints_a_table_without_the_naive_side(capsys, monkeypatch):
    options = "--layers 2 --hidden 32 --heads 2 --tokens 8 --tokens 9 --repeats 1 --k 3 --naive-rows 0"
    monkeypatch.setattr(sys, "argv", ["benchmarks.engine", *options.split()])
    engine.main()
    out, err = capsys.readouterr()
    assert out.startswith("2 blocks of width 32, random weights, K = 3, fp32, cpu")
    assert "n = 8" in out
    assert "n = 9" in out
    assert "engine, largest error in m" in out
    assert "naive" not in out
    assert "engine, turn 1 of 1" in err
