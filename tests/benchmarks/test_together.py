"""``python -m benchmarks.together``: its figures, on a few prompts."""

import json

import torch

from benchmarks import together


def test_the_figures_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(together, "tokens_together", lambda model, ids, turns: {"tokens": ids.shape[1]})
    monkeypatch.setattr(together, "estimates", lambda prompts, ids: [{"run": "one"}])
    together.main(["--prompts", "3", "--wide-prompts", "0", "--turns", "1", "--out", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures == json.loads(capsys.readouterr().out)
    found = figures["bundled"]
    assert (found["prompts"], found["tokens"]) == (3, 32)
    assert found["share"] > 0
    assert found["largest_difference"] < 1e-5


def test_time_of_the_processor_is_counted():
    assert together.processor_seconds(lambda: sum(range(10**6))) > 0


def test_the_first_measurement_of_a_process_is_timed():
    assert together.first_seconds("self", [torch.arange(4)[None]]) > 0
