"""The numbers of the page are those of the committed tables, and of what ``coupling correlate --family`` prints."""

import pandas as pd
import pytest
from scipy import stats

from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.family_members import STEPS, members
from coupling.analyses.studies.family_prediction import TABLE as HELD_OUT
from coupling.analyses.studies.p1_artefact import BY_K, BY_WIDTH, LIMIT
from tests.docs.pages import tables_of, text_of
from tests.helpers import ROOT

PAGE = "results/small-models.md"
FOLDER = ROOT / "analyses" / "studies" / "results"
LONGER = FOLDER / "small-models-longer.csv"
BITS, EXACT = "bits per byte", "exact match"
MEASURES = (
    "excess K=10 p=2", "diagonal share K=10", "aligned energy K=10", "coupling K=10 p=1", "chance K=10 p=1",
    "coupling K=10% p=1", "chance K=10% p=1", "line-shape score", "effective rank", "prompt entropy",
    "spectral exponent", "held-out loss",
)  # fmt: skip
SIZES = ("log parameters", "log steps", "log data_share")
PREDICTORS = ("none", *MEASURES[:3], "coupling K=10 p=1", "coupling K=10% p=1", *MEASURES[7:])


@pytest.fixture(scope="module")
def frame():
    return family_table().frame


@pytest.fixture(scope="module")
def result():
    return correlate(family_table(), benchmarks=[EXACT, BITS], resamples=19)


@pytest.fixture(scope="module")
def held_out():
    return pd.read_csv(FOLDER / HELD_OUT).set_index(["benchmark", "measure"])


def all_rows(result):
    """Pearson's r over all models."""
    pearson = {(row["benchmark"], row["measure"]): row["pearson"] for row in result["measures"]}
    for one in result["results"]:
        pearson |= {(one["benchmark"], row["name"]): row["pearson"] for row in one["predictors"]}
    return [
        [name, *(f"{pearson[benchmark, name]:+.2f}" for benchmark in (EXACT, BITS))] for name in (*MEASURES, *SIZES)
    ]


def within_rows(frame):
    """Pearson's r with bits per byte among models of equal steps, with its p-value."""
    rows = []
    for name in MEASURES:
        cells = []
        for _, group in frame.groupby("steps"):
            found = stats.pearsonr(group[name], group[BITS])
            p = "<0.001" if found.pvalue < 0.001 else f"{found.pvalue:.3f}"
            cells.append(f"{found.statistic:+.2f} ({p})")
        rows.append([name, *cells])
    return rows


def held_out_rows(held_out):
    """R² of held-out shapes, by benchmark: the measure alone, and with size and training."""
    places = [(benchmark, known) for benchmark in (EXACT, BITS) for known in ("nothing", "size and training")]
    return [
        [name, *(f"{held_out.loc[(benchmark, name), known]:+.2f}" for benchmark, known in places)]
        for name in PREDICTORS
    ]


def k_rows():
    """The sweep of K at one model."""
    table = pd.read_csv(FOLDER / BY_K).pivot(index="k", columns="weights")
    return [
        [
            str(k),
            f"{row['coupling', 'trained']:.3f}",
            f"{row['chance', 'trained']:.3f}",
            f"{row['coupling', 'random']:.3f}",
            f"{row['diagonal_share', 'trained']:.3f}",
            f"{1 / k:.3f}",
        ]
        for k, row in table.iterrows()
    ]


def width_rows():
    """The sweep of the width with all else fixed."""
    table = pd.read_csv(FOLDER / BY_WIDTH)
    columns = [name for name in table.columns if name not in ("width", "groups")]
    return [[f"{row['width']:.0f}", *(f"{row[name]:.3f}" for name in columns)] for _, row in table.iterrows()]


def test_the_tables(result, frame, held_out):
    expected = all_rows(result), within_rows(frame), held_out_rows(held_out), k_rows(), width_rows()
    found = tables_of(PAGE)
    assert len(found) == len(expected)
    for (_, *rows), wanted in zip(found, expected, strict=True):
        assert rows == wanted


def test_the_design(frame):
    text = text_of(PAGE)
    assert len(frame) == len(members()) >= 32
    assert f"trains {len(frame)} small Llamas" in text
    assert f"{' or '.join(map(str, STEPS))} steps" in text
    assert len(frame) // len(STEPS) == 18
    assert "18 models of equal steps" in text
    assert f"on {LIMIT} prompts" in text
    assert (pd.read_csv(FOLDER / BY_WIDTH)["groups"] == len(frame) / 3).all()


def test_what_is_left_given_size_and_training(result):
    exact, bits = (one["joint"][1] for one in result["results"])
    assert exact["predictors"] == ["excess K=10 p=2", *SIZES]
    stated = [f"{one['terms'][0]['partial']:+.2f} with {name} (p = {one['terms'][0]['p']:.4f})"
              for name, one in ((BITS, bits), (EXACT, exact))]  # fmt: skip
    assert f"a partial r of {' and '.join(stated)}" in text_of(PAGE)


def test_the_statements(frame, held_out):
    text = text_of(PAGE)
    names = frame.groupby("steps")
    for _, group in names:
        for name in ("excess K=10 p=2", "diagonal share K=10", "aligned energy K=10"):
            found = stats.pearsonr(group[name], group[BITS])
            assert found.statistic > 0
            assert (found.pvalue < 0.05) == name.startswith("aligned")
        for name in ("coupling K=10% p=1", "chance K=10% p=1"):
            assert stats.pearsonr(group[name], group[BITS]).statistic < 0
    energy = [stats.pearsonr(group["aligned energy K=10"], group[BITS]) for _, group in names]
    assert max(found.pvalue for found in energy) < 0.05
    assert f"r = {energy[0].statistic:+.2f} and {energy[1].statistic:+.2f}" in text
    assert frame["exact match"][frame["steps"] == STEPS[0]].eq(0).sum() == 14
    assert "14 of the 18 models with 100 steps score 0" in text
    known = "size and training"
    for name in ("coupling K=10 p=1", "coupling K=10% p=1"):
        for benchmark in (BITS, EXACT):
            assert held_out.loc[(benchmark, name), known] < held_out.loc[(benchmark, "none"), known]
    for name in ("diagonal share K=10", "aligned energy K=10", "excess K=10 p=2"):
        for benchmark in (BITS, EXACT):
            assert held_out.loc[(benchmark, name), known] > held_out.loc[(benchmark, "none"), known]
    for benchmark in (BITS, EXACT):  # what the page of the calibrated measures says
        share, excess = (held_out.loc[(benchmark, name), known] for name in ("diagonal share K=10", "excess K=10 p=2"))
        assert 0.1 > share - excess > 0


def test_the_p_1_artefact():
    by_k = pd.read_csv(FOLDER / BY_K).pivot(index="k", columns="weights")
    assert (by_k["coupling"].diff().dropna() > 0).all(axis=None)
    assert (by_k.loc[10:, ("coupling", "trained")] < by_k.loc[10:, ("coupling", "random")]).all()
    share = by_k["diagonal_share", "trained"] * by_k.index
    assert share.loc[2:].min() > 1.5
    by_width = pd.read_csv(FOLDER / BY_WIDTH).set_index("width")
    at_share = by_width["coupling K=10% p=1"]
    assert (at_share.diff().dropna() > 0).all()
    text = text_of(PAGE)
    assert f"from {at_share.iloc[0]:.2f} to {at_share.iloc[-1]:.2f}" in text
    chance = by_width["chance K=10% p=1"]
    assert f"chance rises from {chance.iloc[0]:.2f} to {chance.iloc[-1]:.2f}" in text
    fixed = by_width["coupling K=10 p=1"]
    assert abs(fixed.iloc[-1] - fixed.iloc[0]) < 0.02


def test_the_longer_family():
    frame = family_table(LONGER).frame
    text = text_of(PAGE)
    assert len(frame) == 24
    r = {name: stats.pearsonr(frame[name], frame[EXACT]).statistic for name in (MEASURES[0], "chance K=10 p=1")}
    assert f"over all 24 the excess has r = {r['excess K=10 p=2']:+.2f} with exact match" in text
    assert f"and chance at p = 1 {r['chance K=10 p=1']:+.2f}" in text
    longest = frame[frame["steps"] == 2000]
    found = {name: stats.pearsonr(longest["excess K=10 p=2"], longest[name]) for name in (EXACT, BITS)}
    assert len(longest) == 8
    assert (
        f"r = {found[EXACT].statistic:+.2f} (p = {found[EXACT].pvalue:.2f}) with exact match and "
        f"{found[BITS].statistic:+.2f} (p = {found[BITS].pvalue:.2f}) with bits per byte" in text
    )


def test_the_time_it_took(frame):
    assert f"{frame['seconds'].sum() / 60:.0f} minutes" in text_of(PAGE)
