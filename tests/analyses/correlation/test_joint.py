"""Several predictors at once, against statsmodels and pingouin called directly."""

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from statsmodels.stats.outliers_influence import variance_inflation_factor

from coupling.analyses.correlation.joint import fisher_interval, joint_regression
from coupling.analyses.correlation.published import published_table
from coupling.errors import CouplingError
from tests.analyses.correlation.test_association import sample


def test_the_joint_regression_is_that_of_statsmodels_and_pingouin():
    frame = published_table().frame
    frame = frame.assign(log_parameters=np.log(frame["parameters"]), log_width=np.log(frame["width"]))
    names = ["coupling", "log_parameters", "log_width"]
    y = frame["leaderboard_average"].to_numpy()
    found = joint_regression(frame[names], y)
    raw = sm.OLS(y, sm.add_constant(frame[names])).fit()
    assert found["r2"] == pytest.approx(raw.rsquared)
    assert found["adjusted_r2"] == pytest.approx(raw.rsquared_adj)
    design = sm.add_constant(frame[names]).to_numpy()
    for column, (name, term) in enumerate(zip(names, found["terms"], strict=True), 1):
        others = [other for other in names if other != name]
        scale = frame[name].std() / y.std(ddof=1)
        assert term["coefficient"] == pytest.approx(raw.params[name] * scale)
        assert term["p"] == pytest.approx(raw.pvalues[name])
        assert term["t"] == pytest.approx(raw.tvalues[name])
        assert term["vif"] == pytest.approx(variance_inflation_factor(design, column))
        partial = pingouin.partial_corr(frame, name, "leaderboard_average", others)
        assert term["partial"] == pytest.approx(partial["r"].iloc[0], abs=1e-5)
        assert term["p"] == pytest.approx(partial.filter(regex="^p").iloc[0, 0], rel=1e-4)


def test_a_joint_regression_that_is_not_defined():
    x, y = sample()
    for columns, rows, message in (
        ({"a": x, "b": 2 * x + 1}, 20, "linearly dependent"),
        ({"a": x, "b": y}, 3, "2 predictors need at least 4 models, and there are 3"),
        ({"a": x, "b": np.ones(20)}, 20, "b is the same for all 20 models"),
    ):
        with pytest.raises(CouplingError, match=message):
            joint_regression(pd.DataFrame(columns)[:rows], y[:rows])


def test_the_interval_of_a_partial_correlation_is_fisher_s():
    frame = published_table().frame
    frame = frame.assign(log_parameters=np.log(frame["parameters"]))
    found = joint_regression(frame[["coupling", "log_parameters"]], frame["leaderboard_average"].to_numpy())
    term = found["terms"][0]
    # pingouin rounds its intervals to two digits
    low, high = pingouin.compute_esci(term["partial"], nx=len(frame) - 1, ny=len(frame) - 1, eftype="r")
    assert term["partial_interval"] == pytest.approx([low, high], abs=0.0051)
    assert fisher_interval(0.5, 3) is fisher_interval(1.0, 20) is fisher_interval(None, 20) is None
