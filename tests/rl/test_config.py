"""P3OConfig: which settings it refuses, and why."""

import pytest
from trl import GRPOConfig

from coupling.rl import P3OConfig
from coupling.rl.config import MEANINGLESS
from tests.tiny_policy import TRAINING


def make_config(folder, **options):
    return P3OConfig(output_dir=str(folder), **TRAINING | options)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"epsilon": 0.3}, "`epsilon=0.3` cannot be used with P3O: P3O has no clip range"),
        ({"epsilon_high": 0.3}, "no clip range"),
        ({"delta": 2.0}, "no clip range"),
        ({"loss_type": "grpo"}, "P3O is the loss"),
        ({"importance_sampling_level": "sequence"}, "those of tokens"),
        ({"vllm_importance_sampling_clip_max": 1.5}, "already accounts for the mismatch"),
        ({"entropy_coef": 0.1}, "entropy term, .* is not supported here"),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, "make the latter a multiple"),
    ],
)
def test_settings_that_mean_nothing_are_refused(option, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        make_config(tmp_path, **option)


def test_defaults_are_accepted_even_if_they_are_given(tmp_path):
    default = GRPOConfig(output_dir=str(tmp_path), **TRAINING)
    config = make_config(tmp_path, epsilon=default.epsilon, loss_type=default.loss_type)
    assert config.epsilon == default.epsilon
    assert config.vllm_importance_sampling_correction is False  # P3O's own ratio is the correction


def test_the_refused_fields_are_fields_of_trl_s_configuration():
    assert MEANINGLESS.keys() <= GRPOConfig.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"ess_scope": "token"}, "`ess_scope` is 'token', but must be one of batch, micro"),
        ({"kl_estimator": "k2"}, "`kl_estimator` is 'k2', but must be one of k3, weighted"),
    ],
)
def test_unknown_scopes_and_estimators_are_refused(option, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_config(tmp_path, **option)
