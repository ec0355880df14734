"""The page's numbers and statements are those of the table, and the table is what the study computes."""

import pandas as pd
import pytest

from coupling.analyses.studies.leaderboard_columns import TABLE, columns_table, joined_points
from tests.docs.pages import tables_of, text_of
from tests.helpers import ROOT

PAGE = "results/leaderboard-columns.md"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(ROOT / "analyses" / "studies" / "results" / TABLE).set_index("column")


def test_the_table_is_computed_from_the_bundled_data(table):
    again = columns_table(resamples=99).set_index("column")
    for name in again.columns.difference(["left_low", "left_high"]):  # a bootstrap, here of few resamples
        assert again[name].to_numpy() == pytest.approx(table[name].to_numpy(), abs=1e-6), name


def test_the_numbers(table):
    (header, *rows) = tables_of(PAGE)[0]
    assert header[0] == "column"
    assert [row[0] for row in rows] == list(table.index)
    for name, *cells in rows:
        row = table.loc[name]
        assert cells == [
            f"{row['n']:.0f}",
            *(f"{row[r2]:.3f}" for r2 in ("r2_coupling", "r2_chance", "r2_log_parameters")),
            f"{row['partial']:+.2f}",
            f"{row['partial_low']:.2f} to {row['partial_high']:.2f}",
            f"{row['p_holm']:.3f}",
            f"{row['left']:+.2f}",
        ]


def test_the_statements(table):
    text = text_of(PAGE)
    points = joined_points()
    assert f"{len(points.frame)} of the 28 published models" in text
    r2 = table["r2_chance"]
    assert (
        f"explains {100 * r2['hellaswag']:.0f}% of HellaSwag, {100 * r2['winogrande']:.0f}% of WinoGrande and "
        f"{100 * r2['arc_challenge']:.0f}% of ARC" in text
    )
    three = ["hellaswag", "winogrande", "arc_challenge"]
    assert (table["r2_coupling"] - r2)[three].max() < 0.06
    assert (r2 > table["r2_log_parameters"])[three].all()
    assert (table["partial"] > 0).all()
    assert set(table.index[table["p_holm"] < 0.05]) == {"mmlu", "hellaswag", "gsm8k", "average"}
    assert ((table["left_low"] < 0) & (table["left_high"] > 0)).all()
    on_curve = table["partial_on_curve"]
    assert f"+{on_curve['hellaswag']:.2f} for HellaSwag" in text
    others = on_curve.drop(["hellaswag", "truthfulqa"])
    assert f"between {others.min():.2f} and {others.max():.2f} for the other columns" in text
    assert f"TruthfulQA ({on_curve['truthfulqa']:.2f})" in text
    assert set(table["n_on_curve"]) == {16, 17}
