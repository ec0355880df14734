"""The step in the name of a checkpoint."""

import pytest

from coupling.analyses.sweep.steps import step_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step1000", 1000),
        ("checkpoint-1000", 1000),
        ("global_step1000", 1000),
        ("iter_0001000", 1000),
        ("iter000001_v000002", 1),
        ("epoch_3", 3),
        ("step0", 0),
        ("stage1-step140000-tokens294B", 140000),
        ("step738020-unsharded", 738020),
        ("epoch_3-step1000", 1000),
        ("Step-12", 12),
        ("main", None),
        ("pythia-160m", None),
        ("footstep3", None),
        ("v1.0", None),
    ],
)
def test_names_of_checkpoints(name, step):
    assert step_of(name) == step


def test_a_pattern_of_the_user():
    assert step_of("weights.000123.pt", r"weights\.(\d+)") == 123
    assert step_of("step5", r"weights\.(\d+)") is None
