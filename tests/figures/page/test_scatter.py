"""The scatter on the page has the points and the line of the picture."""

import pandas as pd
import pytest

from coupling.figures import scatter
from coupling.figures.page.scatter import SECTION
from coupling.figures.page.section import Extent, Material, Points

TABLE = pd.DataFrame(
    {
        "model": list("abcdef"),
        "score": [1, 2, 3, 1, 2, 9],
        "benchmark": [1, 2, 3.5, 9, 9, 0],
        "group": ["published"] * 3 + ["measured"] * 3,
    }
)


def data(run, table):
    material = Material([run], Extent(1, 1), points=Points(table, "score", "accuracy"))
    assert SECTION.needed(material)
    return SECTION.data(material)[0]


def test_the_fit_is_that_of_the_picture(run):
    found = data(run, TABLE)
    words = [text.get_text() for text in scatter(TABLE).legends[0].get_texts()]
    assert found["note"] in words
    (line,) = [line for line in scatter(TABLE).axes[0].lines if line.get_label() == found["note"]]
    assert [tuple(end) for end in found["line"]] == [pytest.approx(point) for point in line.get_xydata().tolist()]
    assert found["labels"] == ["score", "accuracy"]
    assert found["rows"][3] == {"model": "d", "score": 1, "benchmark": 9, "group": "measured"}


def test_too_few_points_have_no_line(run):
    assert data(run, TABLE[:2])["line"] == []
    assert data(run, TABLE[:2])["note"] == "n = 2"
    assert not SECTION.needed(Material([run], Extent(1, 1)))
    assert SECTION.data(Material([run], Extent(1, 1))) == [None]
