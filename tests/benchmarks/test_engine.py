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
    figures = json.loads(result.stdout)
    ((name, (row,)),) = figures["models"].items()
    assert name == "2 blocks of width 32, random weights"
    assert figures["threads"] >= 1
    assert row["ratio"] > 0
    assert row["engine_error"] < 1e-3
    assert row["naive_error"] < 1e-3


def test_the_command_prints_a_table_without_the_naive_side(capsys, monkeypatch):
    options = "--layers 2 --hidden 32 --heads 2 --tokens 8 --tokens 9 --repeats 1 --k 3 --naive-rows 0"
    monkeypatch.setattr(sys, "argv", ["benchmarks.engine", *options.split()])
    engine.main()
    out, err = capsys.readouterr()
    assert out.startswith("K = 3, fp32, cpu")
    assert "2 blocks of width 32, random weights" in out
    assert "n = 8" in out
    assert "n = 9" in out
    assert "engine, largest error in m" in out
    assert "naive" not in out
    assert "engine, turn 1 of 1" in err


def test_real_models_beside_the_random_one(tmp_path, monkeypatch):
    real = {"real": engine.build(2, 32, 2, 128, "cpu")}
    monkeypatch.setattr(engine, "real_models", lambda: real)
    out = tmp_path / "figures.json"
    options = "--layers 2 --hidden 32 --heads 2 --tokens 8 --repeats 1 --k 3 --naive-rows 4 --real --processor-time"
    monkeypatch.setattr(sys, "argv", ["benchmarks.engine", *options.split(), "--out", str(out)])
    engine.main()
    figures = json.loads(out.read_text())
    assert figures["processor_time"]
    assert [[row["tokens"] for row in rows] for rows in figures["models"].values()] == [[8], [128]]
    assert list(figures["models"])[1] == "real"
