"""The picture linearity: medians, the baseline, and its axes."""

import numpy as np
import pytest

from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.style import PALETTE


def test_linearity_draws_medians_and_the_untrained_model_dashed(run, untrained):
    upper, _ = figures.linearity([run, untrained]).axes
    trained, baseline = upper.lines[:2]
    enough = run.line_shape_score.notnull().sum("prompt").values >= 2
    assert np.allclose(trained.get_ydata(), np.nanmedian(run.line_shape_score.values[:, enough], axis=0))
    assert (trained.get_linestyle(), baseline.get_linestyle()) == ("-", "--")
    assert trained.get_color() == PALETTE[0]


def test_one_prompt_has_its_tokens_on_the_axis(run):
    upper, lower = figures.linearity(run, prompt=2).axes
    assert "·<" in [label.get_text() for label in lower.get_xticklabels()]
    n_tokens = int(run.n_tokens[2])
    assert np.allclose(upper.lines[0].get_ydata(), run.line_shape_score.values[2, :n_tokens])
    with pytest.raises(CouplingError, match="no prompt 3"):
        figures.linearity(run, prompt=3)


def test_runs_with_other_tokens_have_positions_on_the_axis(run):
    other = run.isel(prompt=[1, 0, 2])
    _, lower = figures.linearity([run, other], prompt=0).axes
    labels = [label.get_text() for label in lower.get_xticklabels()]
    assert labels == [str(position) for position in range(int(run.n_tokens[:2].max()))]


def test_a_wide_range_has_plain_numbers_on_its_axis(run):
    wide = run.copy()
    first_is_huge = np.where(np.arange(wide.sizes["token"]) == 0, 1e4, wide.expodistance)
    wide["expodistance"] = wide.expodistance.copy(data=first_is_huge)
    figure = figures.linearity(wide)
    figure.draw_without_rendering()
    assert figure.axes[1].get_yscale() == "log"
    assert not any("$" in label.get_text() for label in figure.axes[1].get_yticklabels())
    assert "1000" in [label.get_text() for label in figure.axes[1].get_yticklabels()]
