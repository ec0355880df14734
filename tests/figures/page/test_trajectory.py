"""The paths on the page are those of the picture, for every number of first tokens left out."""

import numpy as np

from coupling.figures.page import trajectory
from coupling.figures.page.packing import unpacked
from coupling.figures.trajectory import paths_of, principal_components
from tests.figures.page.helpers import material


def test_the_paths_of_tokens(run, monkeypatch):
    (data,) = trajectory.SECTION.data(material(run, prompts=2, skips=(0, 2)))
    assert set(data) == {"0", "1"}
    for skip in (0, 2):
        paths = paths_of(run, 1, skip_first=skip)
        points, shares = principal_components(paths.stream)
        found = data["1"][str(skip)]
        assert found["tokens"] == list(range(skip, int(run.n_tokens[1])))
        assert np.allclose(unpacked(found["x"]), points[:, :, 0].ravel(), atol=np.ptp(points) / 30_000)
        assert np.allclose(found["shares"], shares, rtol=1e-2)
    monkeypatch.setattr(trajectory, "MOST_PROMPTS", 1)
    assert set(trajectory.SECTION.data(material(run, prompts=2))[0]) == {"0"}


def test_prompts_without_residual_streams_are_left_out(run):
    assert trajectory.SECTION.data(material(run.drop_vars("residual_stream"))) == [None]
    (data,) = trajectory.SECTION.data(material(run.isel(detailed_prompt=[2]), prompts=3))
    assert set(data) == {"2"}
    assert trajectory.SECTION.data(material(run.isel(detailed_prompt=[2]), prompts=1)) == [None]
