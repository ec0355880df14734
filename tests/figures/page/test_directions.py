"""The report's table of directions."""

import numpy as np
import pytest

from coupling.figures.page.directions import direction_tables
from coupling.figures.page.report import report
from coupling.shared_directions import Directions, read_directions


@pytest.fixture
def table():
    axes = np.eye(64)
    vectors = {block: Directions(np.ones(1), axes[:, [3]], axes[:, [block]]) for block in (4, 6)}
    found = read_directions(vectors, lambda block, side, one: one.T, lambda item: f"<b> {item}\n", top=2)
    found.attrs |= {"model": "org/one", "prompt": 0, "text": "<i>", "token": 2, "token_text": " b", "items": "tokens"}
    return found


def test_rows_are_texts(table):
    (shown,) = direction_tables([table])
    assert (shown["name"], shown["input"], shown["where"]) == ("one", "prompt 0: <i>", "token 2 (·b)")
    first = shown["rows"][0]
    assert (first["block"], first["does"], first["toward"][0], first["shared"]) == (4, "writes", "<b>·3↵", "6")
    assert first["nearest"] == "6:0 (+1.00)"


def test_the_page_shows_them_escaped(run, table):
    page = report([run], directions=[table])
    assert page.count('id="directions"') == 1
    assert "&lt;b&gt;·3↵" in page
    assert '<tr class="shared">' in page
    assert 'id="directions"' not in report([run])
