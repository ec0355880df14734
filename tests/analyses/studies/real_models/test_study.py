"""The study of real models: what it measures, and that it continues."""

import pytest

import coupling
from coupling.analyses.studies.real_models import study
from coupling.choices import KINDS
from coupling.errors import CouplingError


def test_every_model_is_measured_trained_and_untrained_in_every_kind():
    everything = study.measurements()
    assert len({one.name for one in everything}) == len(everything) == 3 * 2 * len(KINDS)
    assert {one.kind for one in everything[:6]} == {"depth"}
    assert study.KS["depth"][-1] == "10%"


def test_a_package_that_is_missing_is_named():
    assert study.SUBJECTS[0].source() is None
    with pytest.raises(CouplingError, match="pip install --no-deps no-such-package"):
        study.Subject("x", "no_such_package", "model").source()


def test_a_run_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "TOKENS_PROMPTS", 1)
    monkeypatch.setattr(study, "TOKENS_K", (3,))
    one = study.Measurement(study.SUBJECTS[0], random=True, kind="context-output")
    first = study.measure(one, tmp_path)
    assert first.attrs["weights"] == "random"
    assert study.measure(one, tmp_path).identical(coupling.open_run(tmp_path / one.name))
