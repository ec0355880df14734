"""The angles on the page are those of the picture."""

import numpy as np

from coupling.figures.angles import chance_angle, subspace_angle
from coupling.figures.page.angles import SECTION
from coupling.figures.page.packing import unpacked
from coupling.figures.page.section import MEAN, key
from tests.figures.page.helpers import material


def test_angles_by_k_prompt_and_side(run, token_run):
    data, none = SECTION.data(material(run, token_run, bits=8))
    assert none is None
    off = ~np.eye(8, dtype=bool)
    for prompt, precision in ((MEAN, 0.001), (0, 0.2)):
        shown = unpacked(data["tables"][key(1, prompt)]["right"]).reshape(8, 8)
        expected = subspace_angle(run, "right", k=5, prompt=None if prompt == MEAN else prompt)
        assert np.allclose(shown[off], expected[off], atol=precision)
    assert np.allclose(data["chance"], [chance_angle(k, run.attrs["width"]) for k in (3, 5)], rtol=1e-4)
    assert SECTION.needed(material(run))
    assert not SECTION.needed(material(token_run))
