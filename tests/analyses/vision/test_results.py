"""The statistics of the study: they find what a made-up table contains, and agree with SciPy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import pearsonr

from coupling.analyses.vision import results
from coupling.analyses.vision.results import (
    ACCURACY,
    by_configuration,
    correlations,
    effects,
    measures_in,
    primary,
    statistics,
    summary,
    verdict,
)
from tests.analyses.vision.conftest import make_table

FEW = 200
"""Resamples, in place of thousands."""


@pytest.fixture(scope="module")
def found(table):
    return statistics(table, resamples=FEW)


def test_the_measure_that_stands_for_coupling(table):
    assert primary(table) == "excess K=10 p=2"
    assert measures_in(table) == ["excess K=6 p=2", "excess K=10 p=2", "line-shape score", "expodistance"]


def test_seeds_are_averaged(table):
    configurations = by_configuration(table)
    assert len(configurations) == 32
    chosen = configurations[configurations["model"] == "d8-e80-sd0.4-wd0.5"]
    seeds = table[table["model"].str.startswith("d8-e80-sd0.4-wd0.5-seed")]
    assert len(seeds) == 3
    assert chosen[ACCURACY].item() == pytest.approx(seeds[ACCURACY].mean())


def test_effects_are_those_of_a_regression_of_standardized_columns(table):
    (row,) = [
        row for row in effects(table, "excess K=10 p=2") if (row["epochs"], row["factor"]) == (80, "stochastic_depth")
    ]
    models = table[table["epochs"] == 80]
    columns = {"y": models["excess K=10 p=2"]} | {name: models[name] for name in results.PREDICTORS}
    frame = pd.DataFrame(columns).astype(float)
    frame = (frame - frame.mean()) / frame.std(ddof=1)
    fit = smf.ols("y ~ stochastic_depth + weight_decay + depth", frame).fit()
    assert row["coefficient"] == pytest.approx(fit.params["stochastic_depth"])
    assert [row["low"], row["high"]] == pytest.approx(fit.conf_int().loc["stochastic_depth"].tolist())
    assert row["n"] == 48


def test_correlations_are_over_configurations_of_one_length(table):
    rows = {(row["epochs"], row["measure"]): row for row in correlations(table, resamples=FEW)}
    assert len(rows) == 2 * 4
    row = rows[20, "excess K=10 p=2"]
    models = by_configuration(table[table["epochs"] == 20])
    assert row["n"] == len(models) == 16
    assert row["pearson"] == pytest.approx(pearsonr(models["excess K=10 p=2"], models[ACCURACY]).statistic)
    assert row["p_holm"] >= row["pearson_p"]
    assert "the same for all 16 models" in rows[20, "line-shape score"]["omitted"]


def test_verdicts(table, found):
    assert verdict(found, "excess K=10 p=2", "stochastic_depth") == "agrees"
    assert verdict(found, "excess K=10 p=2", "pearson") == "agrees"
    assert verdict(found, "expodistance", "stochastic_depth") == "undecided"
    assert verdict(found, "line-shape score", "pearson") == "undecided"  # constant: there is no interval
    falling = statistics(make_table(slope=-0.5), resamples=FEW)
    assert verdict(falling, "excess K=10 p=2", "stochastic_depth") == "contradicts"
    mixed = pd.concat([found[found["epochs"] == 20], falling[falling["epochs"] == 80]])
    assert verdict(mixed, "excess K=10 p=2", "stochastic_depth") == "undecided"


def test_the_table_of_the_page(found):
    rows = summary(found)
    assert rows[0] == [
        "measure", "stochastic depth, 20 epochs", "stochastic depth, 80 epochs", "accuracy, 20 epochs",
        "accuracy, 80 epochs",
    ]  # fmt: skip
    assert [row[0] for row in rows[1:]] == [
        "test accuracy", "excess K=6 p=2", "excess K=10 p=2", "line-shape score", "expodistance"
    ]  # fmt: skip
    assert rows[1][3:] == ["", ""]  # the accuracy is not correlated with itself
    by_length = found[(found["measure"] == "excess K=10 p=2") & (found["epochs"] == 20)].iloc[0]
    assert rows[3][1].startswith(f"{by_length['stochastic_depth']:+.2f} ({by_length['stochastic_depth_low']:+.2f} to ")
    assert results.as_markdown(rows).splitlines()[1] == "|---|---|---|---|---|"


def test_a_measure_that_some_models_lack(table):
    holed = table.copy()
    holed.loc[holed["epochs"] == 20, "expodistance"] = np.nan
    rows = statistics(holed, resamples=FEW).set_index(["measure", "epochs"])
    assert np.isnan(rows.loc[("expodistance", 20), "stochastic_depth"])
    assert np.isfinite(rows.loc[("expodistance", 80), "stochastic_depth"])
