"""Hashes of what a run begins from: they change with the model, the data and the probe, and with nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.identity import DATA, MODEL, PROBE, model_identity, run_identity


@pytest.fixture
def content(small_model, tmp_path) -> dict:
    model = shutil.copytree(small_model, tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "(", "answer": ")"}\n{"prompt": "[", "answer": "]"}\n')
    (tmp_path / "probe.txt").write_text("one\ntwo\n")
    return {
        "model": str(model),
        "data": {"file": str(tmp_path / "rows.jsonl")},
        "probe": {"prompts": str(tmp_path / "probe.txt")},
    }


def identity(content: dict) -> dict[str, str]:
    return run_identity(from_mapping(content), 0)


def test_nothing_changes_by_itself(content):
    before = identity(content)
    assert set(before) == {MODEL, DATA, PROBE}
    Path(content["model"], "README.md").write_text("about")
    assert identity(content) == before
    assert identity(content | {"trainer": {"max_steps": 3}}) == before


def test_each_change_is_seen_where_it_is(content):
    before = identity(content)
    config = Path(content["model"], "config.json")
    changed = json.loads(config.read_text()) | {"rms_norm_eps": 1e-3}
    config.write_text(json.dumps(changed))
    assert [name for name, value in identity(content).items() if value != before[name]] == [MODEL]
    before = identity(content)
    weights = Path(content["model"], "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert [name for name, value in identity(content).items() if value != before[name]] == [MODEL]
    before = identity(content)
    Path(content["data"]["file"]).write_text('{"prompt": "(", "answer": ")"}\n{"prompt": "[", "answer": "?"}\n')
    assert [name for name, value in identity(content).items() if value != before[name]] == [DATA]
    before = identity(content)
    Path(content["probe"]["prompts"]).write_text("one\nthree\n")
    assert [name for name, value in identity(content).items() if value != before[name]] == [PROBE]


def test_without_a_probe_there_is_none(content):
    assert set(identity(content | {"probe": {"every": 0}})) == {MODEL, DATA}


def test_a_model_of_the_hub_that_is_not_known_has_none():
    assert model_identity("organization/name") == ""
