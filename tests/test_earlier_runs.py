"""Runs saved by earlier versions open, print, compare and draw."""

from pathlib import Path

import numpy as np
import pytest

import coupling
from coupling import figures
from coupling.choices import RUN_PICTURES

RUNS = Path(__file__).parent / "fixtures" / "runs" / "0.1.0"


@pytest.mark.parametrize("name", ["depth", "self"])
def test_a_run_of_version_0_1_0_opens(name):
    run = coupling.open_run(RUNS / name)
    assert run.attrs["package_version"] == "0.1.0"
    assert run.attrs["kind"] == name
    assert np.isfinite(coupling.score(run))


def test_the_numbers_have_not_changed():
    """The same prompts measured now; the run was saved before the code moved into its rooms."""
    saved = coupling.open_run(RUNS / "depth")
    now = coupling.analyze(prompts=saved.prompt_text.values.tolist(), k=(3, 5))
    for variable in ("mismatch", "mismatch_signed", "mismatch_swapped", "chance", "left_angle", "line_shape_score"):
        assert np.allclose(saved[variable], now[variable], atol=1e-5, equal_nan=True), variable


def test_the_commands_read_it(cli, tmp_path):
    depth, tokens = RUNS / "depth", RUNS / "self"
    assert "bundled" in cli("show", depth)[1]
    assert "identical" not in cli("diff", depth, depth)[2]
    for picture in ("heatmap", "circle", "spectrum", "linearity", "angles"):
        assert cli("plot", depth, "--picture", picture, "-o", f"{picture}.png")[0] == 0
    for picture in ("grid", "trajectory", "heatmap"):
        assert cli("plot", tokens, "--picture", picture, "-o", f"tokens-{picture}.png")[0] == 0
    assert cli("report", depth, tokens, "-o", "page.html")[0] == 0
    (tmp_path / "scores.csv").write_text("model,mmlu\nbundled,50\n")
    code, _, err = cli("correlate", depth, "--scores", "scores.csv")
    assert code == 1  # one model is too few; the run itself was read and matched
    assert "1" in err


def test_every_picture_of_runs_is_covered():
    covered = {"heatmap", "checkpoints", "circle", "spectrum", "linearity", "angles", "grid", "trajectory"}
    assert set(RUN_PICTURES) == covered
    assert all(hasattr(figures, picture) for picture in RUN_PICTURES)
