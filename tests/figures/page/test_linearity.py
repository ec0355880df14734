"""The measures of tokens on the page."""

import numpy as np

from coupling.figures.page.linearity import SECTION
from coupling.figures.page.section import MEAN
from tests.figures.page.helpers import material


def test_medians_and_single_prompts(run, untrained):
    ((first, second),) = SECTION.data(material(run, untrained, prompts=3))
    assert [(one["name"], one["random"]) for one in (first, second)] == [
        ("bundled", False),
        ("bundled (random weights)", True),
    ]
    enough = run.line_shape_score.notnull().sum("prompt").values >= 2
    medians = np.nanmedian(run.line_shape_score.values[:, enough], axis=0)
    assert np.allclose(first["prompts"][str(MEAN)]["shape"], medians, rtol=1e-3)
    n_tokens = int(run.n_tokens[2])
    assert np.allclose(first["prompts"]["2"]["distance"], run.expodistance.values[2, :n_tokens], rtol=1e-3)
    assert len(first["prompts"]["2"]["texts"]) == n_tokens
