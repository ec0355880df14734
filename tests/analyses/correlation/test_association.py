"""Every statistic against SciPy, statsmodels or pingouin called directly, and the rules for too little data."""

import json
import math

import numpy as np
import pandas as pd
import pingouin
import pytest
import scipy.stats
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from coupling.analyses.correlation import association
from coupling.analyses.correlation.published import published_table
from coupling.errors import CouplingError

SEED = 3


def sample(n: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    return x, 0.6 * x + generator.normal(size=n)


@pytest.fixture(params=["random", "ties", "published"])
def pair(request) -> tuple[np.ndarray, np.ndarray]:
    if request.param == "published":
        frame = published_table().frame
        return frame["coupling"].to_numpy(), frame["leaderboard_average"].to_numpy()
    x, y = sample()
    return (np.round(x), np.round(y)) if request.param == "ties" else (x, y)


def test_correlations_are_those_of_scipy_and_pingouin(pair):
    x, y = pair
    found = association.association(x, y, seed=SEED, resamples=999)
    for name, function in (
        ("pearson", scipy.stats.pearsonr),
        ("spearman", scipy.stats.spearmanr),
        ("kendall", scipy.stats.kendalltau),
    ):
        judge = function(x, y)
        assert found[name] == pytest.approx(judge.statistic, abs=1e-12)
        assert found[f"{name}_p"] == pytest.approx(judge.pvalue, rel=1e-9)
        other = pingouin.corr(x, y, method=name)
        assert found[name] == pytest.approx(other["r"].iloc[0], abs=1e-5)
    assert found["n"] == len(x)


def test_pearson_along_an_axis():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 4, 9))
    for axis in (0, 1, 2):
        judge = scipy.stats.pearsonr(x, y, axis=axis).statistic
        assert np.allclose(association.pearson_r(x, y, axis), judge, atol=1e-14)


def test_the_line_is_that_of_scipy_and_statsmodels(pair):
    x, y = pair
    found = association.association(x, y, seed=SEED, resamples=99)
    line = scipy.stats.linregress(x, y)
    assert found["slope"] == pytest.approx(line.slope)
    assert found["intercept"] == pytest.approx(line.intercept)
    assert found["r2"] == pytest.approx(line.rvalue**2)
    half = scipy.stats.t.ppf(0.975, len(x) - 2) * line.stderr
    assert found["slope_interval"] == pytest.approx([line.slope - half, line.slope + half])
    assert found["slope_interval"] == pytest.approx(list(sm.OLS(y, sm.add_constant(x)).fit().conf_int()[1]))


def test_bootstrap_intervals_are_scipys_bca(pair):
    x, y = pair
    found = association.association(x, y, seed=SEED, resamples=999)

    def direct(statistic):  # one resample at a time, by SciPy alone
        interval = scipy.stats.bootstrap(
            (x, y),
            statistic,
            paired=True,
            vectorized=False,
            n_resamples=999,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        return [interval.low, interval.high]

    assert found["pearson_interval"] == pytest.approx(direct(lambda a, b: scipy.stats.pearsonr(a, b).statistic))
    assert found["r2_interval"] == pytest.approx(direct(lambda a, b: scipy.stats.pearsonr(a, b).statistic ** 2))
    assert found["spearman_interval"] == pytest.approx(direct(lambda a, b: scipy.stats.spearmanr(a, b).statistic))


def test_permutation_p_is_scipys(pair):
    x, y = pair
    found = association.association(x, y, seed=SEED, resamples=999)

    judge = scipy.stats.pearsonr(
        y, x, method=scipy.stats.PermutationMethod(n_resamples=999, rng=np.random.default_rng(SEED))
    )  # SciPy permutes its second argument
    assert found["permutation_p"] == pytest.approx(judge.pvalue, abs=1e-12)


def test_permutation_p_is_exact_for_few_models():
    from itertools import permutations

    x, y = sample(5)
    found = association.association(x, y)["permutation_p"]
    r = np.corrcoef(x, y)[0, 1]
    every = np.array([np.corrcoef(x, y[list(order)])[0, 1] for order in permutations(range(5))])
    one_sided = min((every >= r - 1e-12).mean(), (every <= r + 1e-12).mean())
    assert found == pytest.approx(min(1.0, 2 * one_sided))


def test_corrections_are_those_of_statsmodels_and_pingouin():
    p = [0.01, 0.04, None, 0.03, 0.2]
    present = [value for value in p if value is not None]
    found = association.corrected(p)
    for key, method, other in (("p_holm", "holm", "holm"), ("p_bh", "fdr_bh", "fdr_bh")):
        ours = [row[key] for row in found]
        assert ours.pop(2) is None
        assert ours == pytest.approx(list(multipletests(present, method=method)[1]))
        assert ours == pytest.approx(list(pingouin.multicomp(present, method=other)[1]))
    assert association.corrected([None]) == [{"p_holm": None, "p_bh": None}]


def test_leaving_one_out():
    x, y = sample(9)
    groups = list("aabbccdde")
    found = association.leave_out(x, y, groups)
    assert found["groups"] == 5
    for group, r2 in found["each"].items():
        kept = [row for row, other in enumerate(groups) if other != group]
        assert r2 == pytest.approx(scipy.stats.linregress(x[kept], y[kept]).rvalue ** 2)
    assert found["lowest"] == min(found["each"].values())
    assert found["each"][found["without_highest"]] == max(found["each"].values())
    assert association.leave_out(x[:3], y[:3], list("aab")) is None  # 1 or 2 would remain
    between = association.between_groups(x, y, groups)
    means = pd.DataFrame({"x": x, "y": y, "g": groups}).groupby("g").mean()
    assert between["r2"] == pytest.approx(scipy.stats.pearsonr(means.x, means.y).statistic ** 2)
    assert between["p"] == pytest.approx(scipy.stats.pearsonr(means.x, means.y).pvalue)
    assert association.between_groups(x, y, list("aaaaabbbb")) is None


def test_the_seed_determines_the_numbers():
    x, y = sample()
    first, again, other = (association.association(x, y, seed=seed, resamples=299) for seed in (1, 1, 2))
    assert first == again
    assert first["r2_interval"] != other["r2_interval"]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_models(n):
    with pytest.raises(CouplingError, match=f"only {n} models? ha(s|ve) both score and mmlu; .* at least 3"):
        association.check_pair(np.arange(n, dtype=float), np.arange(n, dtype=float), ("score", "mmlu"))


def test_a_constant_column():
    for x, y, name in (([1.0] * 4, range(4), "score"), (range(4), [0.1 + 0.2, 0.3, 0.3, 0.3], "mmlu")):
        with pytest.raises(CouplingError, match=f"{name} is the same for all 4 models"):
            association.check_pair(np.array(x, float), np.array(y, float), ("score", "mmlu"))


def test_no_bootstrap_of_fewer_than_eight_models():
    x, y = sample(7)
    found = association.association(x, y)
    assert found["r2_interval"] is found["pearson_interval"] is found["spearman_interval"] is None
    x, y = sample(8)
    assert association.association(x, y, resamples=999)["r2_interval"] is not None


def test_a_degenerate_bootstrap_has_no_interval_and_no_warning(recwarn):
    x, y = np.arange(9.0), np.array([0.0] * 8 + [1.0])
    assert association.association(x, y, resamples=199)["r2_interval"] is None
    assert not recwarn.list


finite = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=3, max_size=12))
def test_whatever_is_not_refused_gives_numbers_that_json_can_write(rows):
    x, y = np.array(rows).T
    try:
        association.check_pair(x, y, ("x", "y"))
    except CouplingError:
        return
    found = association.association(x, y, resamples=19)
    json.dumps(found, allow_nan=False)
    assert -1e-9 <= found["r2"] <= 1 + 1e-9
    assert math.isclose(found["pearson"] ** 2, found["r2"], abs_tol=1e-6)


def test_spearmans_p_of_few_models_is_exact():
    # 2 of the 3! orders, and 2 of the 5!, are as extreme as a perfect one
    for n, exact in ((3, 2 / 6), (5, 2 / 120)):
        found = association.association(np.arange(n) ** 2.0, np.arange(n) ** 3.0, seed=SEED)
        assert found["spearman"] == pytest.approx(1)
        assert found["spearman_p"] == pytest.approx(exact)
