"""The report's linearity as a specification; test_browser draws it."""

import numpy as np

from coupling.figures.page.contents import MEAN
from coupling.figures.page.linearity import linearity_chart


def test_rows_are_medians_or_single_prompts(run, untrained):
    rows = linearity_chart([run, untrained], ["a", "b"], [MEAN, 2]).specification()["datasets"]["rows"]
    assert [(row["run"], row["random"], row["t"]) for row in rows] == [
        ("a", False, MEAN),
        ("a", False, 2),
        ("b", True, MEAN),
        ("b", True, 2),
    ]
    enough = run.line_shape_score.notnull().sum("prompt").values >= 2
    assert np.allclose(rows[0]["shape"], np.nanmedian(run.line_shape_score.values[:, enough], axis=0), rtol=1e-3)
    n_tokens = int(run.n_tokens[2])
    assert np.allclose(rows[1]["distance"], run.expodistance.values[2, :n_tokens], rtol=1e-3)
    assert len(rows[1]["text"]) == n_tokens


def test_one_run_needs_no_legend(run, untrained):
    def legend(runs):
        first, _ = linearity_chart(runs, ["a", "b"][: len(runs)], [0]).specification()["hconcat"]
        return first["encoding"]["color"]["legend"]

    assert legend([run]) is None
    assert legend([run, untrained])["orient"] == "top"
