"""The report's circle as a specification; test_browser draws it."""

import numpy as np

from coupling.figures.page.circle import FIELDS, circle_chart
from coupling.figures.page.pairs import join_scales, pair_rows


def test_places_and_chords(run):
    rows = pair_rows(run, [0], 100)
    join_scales([rows])
    specification = circle_chart(run, rows).specification()
    places = specification["datasets"]["places"]
    assert [place["block"] for place in places] == list(range(8))
    assert (places[0]["x"], places[0]["y"]) == (0, 1)  # at the top
    assert places[2]["x"] == 1  # clockwise
    assert set(specification["datasets"]["rows"][0]) == set(FIELDS)
    chords = str(specification["layer"][0]["transform"])
    first, second = np.tril_indices(8, -1)
    assert f"{second.tolist()}[datum.i - 1]" in chords
    assert f"{first.tolist()}[datum.i - 1]" in chords


def test_many_blocks_are_not_all_numbered(run):
    blocks = list(range(90))
    rows = [dict.fromkeys(FIELDS, 0)]
    specification = circle_chart(run.isel(block=[0] * 90).assign_coords(block=blocks), rows).specification()
    _, _, names, _ = specification["layer"]
    assert names["transform"] == [{"filter": "datum.block % 3 == 0"}]
