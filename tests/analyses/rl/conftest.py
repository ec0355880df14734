"""A model that several tests of the RL room train on, and checkpoints in FeynRL's layout."""

from pathlib import Path

import pytest

from coupling.analyses.rl.warm_start import warm_start
from tests.analyses.dynamics.conftest import measured, study  # noqa: F401
from tests.feynrl import save_feynrl_run


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """The model of the task brackets after five steps of supervised training."""
    return warm_start("brackets", steps=5, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def feynrl_run(small_model, tmp_path) -> Path:
    return save_feynrl_run(tmp_path / "experiment", small_model)
