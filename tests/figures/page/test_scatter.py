"""The report's scatter as a specification; test_browser draws it."""

import pandas as pd
import pytest

from coupling.figures import scatter
from coupling.figures.page.scatter import scatter_chart

TABLE = pd.DataFrame(
    {
        "model": list("abcdef"),
        "score": [1, 2, 3, 1, 2, 9],
        "benchmark": [1, 2, 3.5, 9, 9, 0],
        "group": ["published"] * 3 + ["measured"] * 3,
    }
)


def data(table):
    return scatter_chart(table, "score", "accuracy").specification()["datasets"]


def test_the_fit_is_that_of_the_picture():
    (note,) = data(TABLE)["notes"]
    words = [text.get_text() for text in scatter(TABLE).legends[0].get_texts()]
    assert note["note"] in words
    (line,) = [line for line in scatter(TABLE).axes[0].lines if line.get_label() == note["note"]]
    ends = [(end["score"], end["benchmark"]) for end in data(TABLE)["line"]]
    assert ends == [pytest.approx(point) for point in line.get_xydata().tolist()]


def test_many_models_are_named_only_on_hover():
    many = pd.concat([TABLE.drop(columns="group")] * 6, ignore_index=True)
    (note,) = data(many)["notes"]
    assert note["note"].endswith("names on hover")
    assert len(scatter_chart(many, "score", "accuracy").specification()["layer"]) == 3
    assert len(scatter_chart(TABLE, "score", "accuracy").specification()["layer"]) == 4


def test_too_few_points_have_no_line():
    assert data(TABLE[:2])["line"] == []
    assert data(TABLE[:2])["notes"] == [{"note": "n = 2"}]
