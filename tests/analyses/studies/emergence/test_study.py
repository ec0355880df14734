"""The study in miniature: two trainings, a sweep over their checkpoints, a table and pictures."""

import pandas as pd
import pytest

from coupling.analyses.studies.emergence import results, study, training
from coupling.analyses.studies.emergence.training import Member
from coupling.errors import CouplingError

pytestmark = pytest.mark.slow
STEPS = (0, 4, 16)


def test_from_training_to_pictures(tmp_path, monkeypatch):
    for name, value in {"LAYERS": 3, "HIDDEN": 32, "HEADS": 2, "FEEDFORWARD": 48, "CONTEXT": 64}.items():
        monkeypatch.setattr(training, name, value)
    monkeypatch.setattr(study, "PROMPTS", 2)
    training._corpus.cache_clear()
    everything = [Member(decay, 0) for decay in (0.0, 0.1)]
    study.run_study(tmp_path, everything, STEPS)
    results.write_results(tmp_path, everything)
    training._corpus.cache_clear()
    table = pd.read_csv(tmp_path / results.TABLE)
    assert len(table) == 2 * len(STEPS) * 2 * 2  # models, steps, norms, prompts
    assert set(table["model"]) == set(results.NAMES)
    first = table[table["step"] == 0]
    assert first.groupby(["norm", "prompt"])["score"].nunique().eq(1).all()  # the same initial weights
    assert table["loss"].notna().all()
    points = pd.read_csv(tmp_path / results.POINTS)
    assert len(points) == 2 * len(results.MEASURES)
    for name in ("emergence", "emergence-p1", "emergence-matrices"):
        assert (tmp_path / f"{name}.png").stat().st_size > 3000


def test_a_checkpoint_that_cannot_be_measured_is_named(tmp_path):
    folder = tmp_path / "models" / "decay-0-seed0" / "checkpoint-4"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CouplingError, match="checkpoint-4 was not measured"):
        study.sweep_members([Member(0.0, 0)], tmp_path)
