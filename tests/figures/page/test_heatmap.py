"""The report's heatmap as a specification; test_browser draws it."""

from coupling.figures.page.heatmap import heatmap_chart
from coupling.figures.page.pairs import join_scales, pair_rows


def drawn(run):
    rows = pair_rows(run, [0], 100)
    join_scales([rows])
    return heatmap_chart(run, rows).specification()


def params(specification):
    return {parameter["name"] for parameter in specification["params"]}


def test_blocks_are_compared_for_every_control_but_the_block(run):
    specification = drawn(run)
    assert params(specification) == {"K", "P", "V", "T"}
    _, tiles, note = specification["layer"]
    assert tiles["encoding"]["x"]["title"] == "block b (frames)"
    assert "datum.excess" in str(note["transform"])  # computed by the library, not by the page
    assert specification["datasets"]["rows"][0]["range"]


def test_tokens_are_compared_at_a_block(token_run):
    specification = drawn(token_run)
    assert params(specification) == {"K", "P", "V", "T", "B"}
    _, tiles, _ = specification["layer"]
    assert tiles["encoding"]["y"]["title"] == "token a (Jacobian)"
    assert "max(0, toNumber(T))" in str(tiles["transform"])  # the first prompt where the mean is chosen
