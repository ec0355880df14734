"""The picture of the study."""

from coupling.analyses.studies.smollm2_rl.design import planned
from coupling.analyses.studies.smollm2_rl.picture import draw
from coupling.analyses.studies.smollm2_rl.results import read_curves


def test_the_picture_has_a_line_per_run_with_the_objective_s_color(results):
    (axes,) = draw(read_curves(planned(), results)).axes
    assert [line.get_label() for line in axes.lines] == [
        "P3O, batch, seed 200",
        "DAPO 0.2, seed 200",
        "P3O, batch, seed 201",
    ]
    colors = [line.get_color() for line in axes.lines]
    assert colors[0] == colors[2] != colors[1]
    assert axes.lines[0].get_linestyle() != axes.lines[2].get_linestyle()
