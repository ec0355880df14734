"""The page's design, table and statements are those of the study's code and of its tables."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.correlation.joint import joint_regression
from coupling.analyses.vision import design, study, training
from coupling.analyses.vision.data import digits
from coupling.analyses.vision.results import (
    ACCURACY,
    PREDICTORS,
    STATISTICS,
    TABLE,
    by_configuration,
    correlations,
    primary,
    statistics,
    summary,
    verdict,
)
from tests.docs.pages import tables_of, text_of
from tests.helpers import ROOT

PAGE = "results/vision.md"
FOLDER = ROOT / "analyses" / "studies" / "results"
EXCESS = "excess K=10 p=2"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(FOLDER / TABLE)


@pytest.fixture(scope="module")
def found():
    return pd.read_csv(FOLDER / STATISTICS)


@pytest.fixture(scope="module")
def text():
    return text_of(PAGE)


def row_of(found, measure, epochs):
    return found[(found["measure"] == measure) & (found["epochs"] == epochs)].iloc[0]


def test_the_design(table, text):
    data = digits()
    assert f"trains {len(table)} small vision transformers" in text
    assert table["model"].tolist() == [one.name for one in design.trainings()]
    assert f"Half of the images ({len(data.images)}) are for training" in text
    assert f"width {training.WIDTH}, {training.HEADS} heads" in text
    assert f"batches of {training.BATCH}, with a learning rate that rises to {training.LEARNING_RATE:g}" in text
    for name, values in {
        "stochastic-depth rate": design.STOCHASTIC_DEPTH_RATES, "weight decay": design.WEIGHT_DECAYS,
        "depth": design.DEPTHS, "training length": design.EPOCHS,
    }.items():  # fmt: skip
        assert f"{name} ({', '.join(f'{value:g}' for value in values)}" in text
    assert f"on the first {study.MEASURED} held-out images, at K = {study.K[0]}" in text
    assert f"and K = {study.K[1]}" in text
    assert primary(table) == EXCESS
    assert len(by_configuration(table[table["epochs"] == 20])) == 16


def test_the_statistics_are_those_of_the_table(table, found):
    again = statistics(table, resamples=99)  # the number of resamples concerns intervals of correlations alone
    assert again["measure"].tolist() == found["measure"].tolist()
    columns = [name for name in found if name not in ("measure", "pearson_low", "pearson_high")]
    assert np.allclose(again[columns].astype(float), found[columns], rtol=1e-4, atol=1e-7, equal_nan=True)
    for row in correlations(table, [EXCESS]):
        expected = row_of(found, EXCESS, row["epochs"])
        assert row["pearson_interval"] == pytest.approx([expected["pearson_low"], expected["pearson_high"]], rel=1e-4)


def test_the_table_of_the_page(found):
    assert tables_of(PAGE)[1] == summary(found)


def test_the_answers(found, text):
    assert verdict(found, EXCESS, "stochastic_depth") == "agrees"
    assert verdict(found, EXCESS, "pearson") == "contradicts"
    assert verdict(found, ACCURACY, "stochastic_depth") == "contradicts"  # accuracy falls
    assert "question 1 agrees with the paper, question 2 contradicts it, and the answer to question 3 is that" in text


def test_means_by_rate(table):
    means = table.groupby(["epochs", "stochastic_depth"])[[EXCESS, ACCURACY]].mean()
    rows = [
        [str(epochs), f"{rate:g}", f"{excess:.3f}", f"{accuracy:.3f}"]
        for (epochs, rate), (excess, accuracy) in zip(means.index, means.to_numpy(), strict=True)
    ]
    assert tables_of(PAGE)[0][1:] == rows


def test_coupling_rises_with_the_rate_in_every_measure_but_one(found):
    ours = found[found["measure"].str.startswith(("excess", "coupling", "diagonal", "aligned", "signed", "absolute"))]
    overlaps = found[found["measure"].str.contains("overlap")]
    assert len(ours) == 2 * (8 + 2 * 2 * 4)
    assert (ours["stochastic_depth_low"] > 0).all()
    rest = overlaps[~(overlaps["stochastic_depth_low"] > 0)]
    assert {(row.measure.replace(" z", ""), row.epochs) for row in rest.itertuples()} == {("right overlap K=10", 20)}
    assert (found.loc[found["measure"] == "line-shape score", "stochastic_depth_high"] < 0).all()
    assert (found.loc[found["measure"] == "expodistance", "stochastic_depth_low"] > 0).all()


def test_coupling_and_accuracy(found, text):
    short, long = row_of(found, EXCESS, 20), row_of(found, EXCESS, 80)
    assert f"at r = {short['pearson']:.2f}. After 80 epochs r is {long['pearson']:.2f}" in text
    assert f"but its p-value is {long['pearson_p']:.2f}" in text
    after = found[(found["epochs"] == 80) & ~found["measure"].str.contains(" z ")].set_index("measure")
    clear = after[(after["pearson_low"] > 0) | (after["pearson_high"] < 0)].index
    assert {name for name in clear if "overlap" in name or "diagonal" in name or "aligned" in name} == {
        "right overlap K=10"
    }
    assert not {f"excess K=6 p={p}" for p in (1, 2)} & set(clear)
    coupling = found[~found["measure"].str.contains("chance|score|expo|growth|accuracy")]["measure"].unique()
    assert {verdict(found, measure, "pearson") for measure in coupling} <= {"contradicts", "undecided"}


def test_given_the_factors_nothing_is_left(table, text):
    said = []
    for length, models in table.groupby("epochs"):
        factors = models[[EXCESS, *PREDICTORS]].astype(float)
        term = joint_regression(factors, models[ACCURACY].to_numpy())["terms"][0]
        said.append(f"{term['partial']:.2f} (p = {term['p']:.2f}) after {length}")
    assert f"is {said[0]} epochs and {said[1]}." in text


def test_longer_training_and_weight_decay(table, found, text):
    means = table.groupby("epochs")[[EXCESS, ACCURACY, "train_accuracy"]].mean()
    assert f"from {means.loc[20, EXCESS]:.3f} to {means.loc[80, EXCESS]:.3f} on average" in text
    assert f"rises from {means.loc[20, ACCURACY]:.3f} to {means.loc[80, ACCURACY]:.3f}" in text
    assert (
        f"images is {means.loc[80, 'train_accuracy']:.3f} after 80 epochs, and {means.loc[80, ACCURACY]:.3f} on" in text
    )
    assert (found.loc[found["measure"] == EXCESS, "weight_decay_low"] > 0).all()
