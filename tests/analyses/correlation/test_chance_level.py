"""The chance curve of the published points, against regressions and partial correlations computed directly."""

import numpy as np
import pandas as pd
import pingouin
import pytest
import scipy.stats

from coupling import metrics
from coupling.analyses.correlation.chance_level import CHANCE, against_chance, chance_at_a_tenth, names_of, with_chance
from coupling.analyses.correlation.published import published_table

OFF_CURVE = {"Llama-2-7b-hf", "Llama-2-13b-hf", "Orca-2-7b", "vicuna-7b-v1.5", "OLMo-1B"}


@pytest.fixture(scope="module")
def frame():
    return published_table().frame.rename(columns={"leaderboard_average": "average"})


@pytest.fixture(scope="module")
def found():
    return against_chance(published_table(), "coupling", "leaderboard_average", resamples=99)


def test_the_curve_is_that_of_the_closed_form():
    """A flat spectrum, K = d/10: the exact chance level is 2 to 4% higher, because random frames overlap a little."""
    for d in (640, 4000):
        moments = metrics.JacobianMoments(np.sqrt(d), 1.0, (d, d))
        exact = metrics.chance_mismatch(moments, np.ones(d // 10), norm=1)
        assert exact == pytest.approx(1 - chance_at_a_tenth(d), rel=0.04)
        assert exact > 1 - chance_at_a_tenth(d)


def test_how_much_it_explains(found, frame):
    chance = 1 - np.sqrt(10 / frame["width"])
    assert found["score"]["r2"] == pytest.approx(scipy.stats.pearsonr(chance, frame["coupling"]).statistic ** 2)
    assert found["benchmark"]["r2"] == pytest.approx(scipy.stats.pearsonr(chance, frame["average"]).statistic ** 2)
    left = (frame["coupling"] - chance) / (1 - chance)
    assert found["left"]["pearson"] == pytest.approx(scipy.stats.pearsonr(left, frame["average"]).statistic)
    assert found["scaled_median"] == pytest.approx(((1 - frame["coupling"]) * np.sqrt(frame["width"])).median())
    assert found["scaled_chance"] == pytest.approx(10**0.5)
    # what the issue of this analysis found
    assert (found["score"]["r2"], found["benchmark"]["r2"]) == pytest.approx((0.930, 0.711), abs=0.001)
    assert (found["left"]["pearson"], found["scaled_median"]) == pytest.approx((-0.01, 3.24), abs=0.005)


def test_models_off_the_curve_are_named(found, frame):
    assert {row["model"] for row in found["off_curve"]} == OFF_CURVE
    assert names_of(found["off_curve"])[0] == "Orca-2-7b"
    for which, rows in (("all", frame), ("without_off_curve", frame.drop(index=list(OFF_CURVE)))):
        law = found["power_law"][which]
        line = scipy.stats.linregress(np.log(rows["width"]), np.log(1 - rows["coupling"]))
        assert (law["exponent"], law["standard_error"]) == pytest.approx((line.slope, line.stderr))
        assert (law["r2"], law["n"]) == (pytest.approx(line.rvalue**2), len(rows))
        low, high = law["interval"]
        assert low < law["exponent"] < high


def test_partial_correlations(found, frame):
    for which, rows in (("all", frame), ("without_off_curve", frame.drop(index=list(OFF_CURVE)))):
        rows = rows.assign(**{CHANCE: chance_at_a_tenth(rows["width"])})
        for term, given in zip(found["partial"][which], (CHANCE, "coupling"), strict=True):
            partial = pingouin.partial_corr(rows, term["name"], "average", given)
            assert term["partial"] == pytest.approx(partial["r"].iloc[0], abs=1e-5)
            assert term["partial_interval"] == pytest.approx(partial.iloc[0].filter(like="CI").iloc[0], abs=0.006)
            assert term["n"] == len(rows)
    of_coupling = [found["partial"][which][0] for which in ("all", "without_off_curve")]
    assert [term["partial"] for term in of_coupling] == pytest.approx([0.565, 0.317], abs=0.001)
    assert of_coupling[0]["partial_interval"] == pytest.approx([0.24, 0.78], abs=0.005)
    low, high = of_coupling[1]["partial_interval"]
    assert low < 0 < high


def test_chance_is_a_predictor():
    table = with_chance(published_table())
    assert table.predictors == (CHANCE,)
    assert isinstance(table.frame, pd.DataFrame)
    assert table.frame.loc["gpt2", CHANCE] == pytest.approx(1 - np.sqrt(10 / 768))
    assert CHANCE not in published_table().frame
