"""The standard error of excess, against the jackknife and against a hand-worked case."""

import numpy as np
import pytest

from coupling.choices import VARIANTS
from coupling.errors import CouplingError
from coupling.metrics import excess
from coupling.scores import chance_score, score
from coupling.uncertainty import are_paired, excess_difference, excess_estimate, on_shared_prompts


def jackknife(value_without, count):
    values = np.array([value_without(left_out) for left_out in range(count)])
    return np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum())


def excess_of(run, k=5, norm=2):
    return float(excess(1 - score(run, k, norm), 1 - chance_score(run, k, norm)))


def without(run, left_out):
    return run.isel(prompt=[prompt for prompt in range(run.sizes["prompt"]) if prompt != left_out])


def test_the_estimate_is_the_excess_of_the_score(run):
    for variant in VARIANTS:
        found = excess_estimate(run, 3, 1, variant).value
        m = 1 - score(run, 3, 1, signed=variant.signed, swapped=variant.swapped)
        assert found == pytest.approx(float(excess(m, 1 - chance_score(run, 3, 1, signed=variant.signed))))


def test_the_standard_error_agrees_with_the_jackknife(run):
    expected = jackknife(lambda left_out: excess_of(without(run, left_out)), run.sizes["prompt"])
    assert excess_estimate(run, 5).standard_error == pytest.approx(expected, rel=0.02)


def test_the_difference_is_paired_on_equal_prompts(run, untrained):
    found = excess_difference(untrained, run, 5)
    assert found.value == pytest.approx(excess_of(run) - excess_of(untrained))

    def difference(left_out):
        return excess_of(without(run, left_out)) - excess_of(without(untrained, left_out))

    assert found.standard_error == pytest.approx(jackknife(difference, run.sizes["prompt"]), rel=0.02)


def test_different_prompts_are_two_samples(run, untrained):
    other = untrained.copy()
    other.attrs["prompts_hash"] = "another"
    assert are_paired(run, untrained)
    assert not are_paired(run, other)
    errors = [excess_estimate(one, 5).standard_error for one in (run, other)]
    assert excess_difference(run, other, 5).standard_error == pytest.approx(np.hypot(*errors))


def test_one_prompt_has_no_standard_error(token_run, run):
    assert excess_estimate(token_run, 3).standard_error is None
    assert excess_difference(token_run, run, 3).standard_error is None
    with pytest.raises(CouplingError, match="K = 4"):
        excess_estimate(run, 4)


def test_different_prompts_are_paired_where_they_are_shared(run, untrained):
    count = run.sizes["prompt"]
    assert count >= 3
    first = run.isel(prompt=list(range(count - 1))).assign_attrs(prompts_hash="a")
    second = untrained.isel(prompt=list(range(count - 1, -1, -1))).assign_attrs(prompts_hash="b")
    pair = on_shared_prompts(first, second)
    assert pair is not None
    assert are_paired(*pair)
    expected = excess_difference(without(run, count - 1), without(untrained, count - 1), 5)
    assert excess_difference(*pair, 5) == expected
    assert on_shared_prompts(first.isel(prompt=[0]), second) is None
    assert on_shared_prompts(first.isel(prompt=[0, 0, 1]), second) is None
