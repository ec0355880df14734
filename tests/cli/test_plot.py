"""``coupling plot`` as a user meets it."""

import pytest

from coupling.choices import RUN_PICTURES
from tests.helpers import refused

PROMPTS = ("analyze", "--prompts", "import os\nimport sys", "--k", 3)


@pytest.fixture
def run(cli):
    assert cli(*PROMPTS, "--out", "run-step1")[0] == 0  # the picture checkpoints reads the step
    return "run-step1"


def test_every_kind_of_picture_of_a_run(cli, run, tmp_path):
    for kind in RUN_PICTURES:
        assert cli("plot", run, "--picture", kind, "-o", f"{kind}.svg") == (0, "", f"saved {kind}.svg\n")
        assert (tmp_path / f"{kind}.svg").stat().st_size > 3000
    assert cli("plot", run, run, "--picture", "heatmap", "--k", 3, "-p", 1, "--swapped", "--prompt", 0, "-o", "two.png",
               "--quiet") == (0, "", "")  # fmt: skip


def test_pictures_of_tables(cli, tmp_path):
    (tmp_path / "t.csv").write_text("model,step,score,benchmark,reward\na,0,0.1,1,0\nb,1,0.2,2,1\nc,2,0.4,3,1\n")
    for kind in ("dynamics", "scatter", "rl"):
        assert cli("plot", "t.csv", "--picture", kind, "-o", f"{kind}.png")[0] == 0
    options = ("--score-label", "excess", "--benchmark-label", "accuracy", "-o", "named.svg")
    assert cli("plot", "t.csv", "--picture", "scatter", *options)[0] == 0
    words = (tmp_path / "named.svg").read_text()
    assert "excess" in words
    assert "accuracy" in words


def test_checkpoints_are_placed_by_their_steps(cli, tmp_path):
    for seed, step in ((0, 0), (0, 10), (1, 0), (1, 10)):
        weights = ("--random-weights", "--seed", seed) if step == 0 else ()
        assert cli(*PROMPTS, *weights, "--out", f"runs/small-seed{seed}-step{step}")[0] == 0
    for picture in ("dynamics", "checkpoints"):
        runs = sorted((tmp_path / "runs").iterdir())
        assert cli("plot", *runs, "--picture", picture, "-p", 1, "--k", 3, "-o", f"{picture}.svg")[0] == 0
    assert "line-shape" in (tmp_path / "dynamics.svg").read_text()
    assert "step 10" in (tmp_path / "checkpoints.svg").read_text()
    refused(cli("plot", "runs", "--picture", "checkpoints", "--steps", "7", "-o", "x.png"), "at step 7", "0, 10")
    refused(cli("plot", "runs", "--picture", "checkpoints", "--steps", "a", "-o", "x.png"), "0,64,1000", code=2)
    refused(cli("plot", "runs", "--picture", "dynamics", "--step-pattern", "x(", "-o", "x.png"), "--step-pattern")
    refused(cli("plot", "runs", "--picture", "dynamics", "--k", 7, "-o", "x.png"), "no rows with K = 7, but with 3")
    given = ("--step-pattern", "(1)", "-o", "x.png")
    refused(cli("plot", *runs, "--picture", "heatmap", *given), "--step-pattern does not apply", code=2)


def test_what_a_picture_needs_and_the_run_has_not(cli, tmp_path):
    assert cli(*PROMPTS, "--out", "bare", "--detail", "none")[0] == 0
    for kind in ("grid", "trajectory"):
        refused(cli("plot", "bare", "--picture", kind, "-o", "x.png"), "--detail all")
    assert cli(*PROMPTS, "--kind", "self", "--out", "tokens")[0] == 0
    for kind in ("circle", "angles"):
        refused(cli("plot", "tokens", "--picture", kind, "-o", "x.png"), "--kind depth")
    assert not (tmp_path / "x.png").exists()
    assert cli("report", "bare", "tokens", "-o", "page.html")[0] == 0


def test_refusals(cli, run, tmp_path):
    refused(cli("plot", run, "--picture", "heatmap", "-o", "x.bmp"), ".png, .svg, .pdf")
    refused(cli("plot", run, "--picture", "heatmap", "-o", "x.png", "--k", 7), "K = 7", "[3]")
    refused(cli("plot", run, "--picture", "heatmap", "-o", "x.png", "--prompt", 4), "no prompt 4")
    refused(cli("plot", run, "--picture", "grid", "-o", "x.png", "--blocks", "9:12"), "0 to 7")
    refused(cli("plot", run, "--picture", "grid", "-o", "x.png", "--blocks", "9"), "4:12", code=2)
    refused(cli("plot", run, "--picture", "circle", "-o", "x.png", "--ranks", 2), "--ranks does not apply", code=2)
    refused(cli("plot", run, "--picture", "pie", "-o", "x.png"), "pie", code=2)
    refused(cli("plot", run, "--picture", "rl", "-o", "x.png"), "is a folder", ".csv")
    refused(cli("plot", run, "--picture", "heatmap", "--block", 2, "-o", "x.png"), "compares blocks")
    refused(cli("plot", run, "--picture", "grid", "--highest", 0, "-o", "x.png"), "above 0")
    (tmp_path / "a.txt").write_text("x")
    refused(cli("plot", "a.txt", "--picture", "heatmap", "-o", "x.png"), "is a file; a run is a folder")
    refused(cli("plot", "a.csv", "b.csv", "--picture", "rl", "-o", "x.png"), "no file a.csv")
    refused(cli("plot", "missing.csv", "--picture", "rl", "-o", "x.png"), "there is no file missing.csv")
    refused(cli("plot", "missing", "--picture", "heatmap", "-o", "x.png"), "there is no folder missing")
    assert cli("plot", run, "--picture", "heatmap", "-o", "new/folder/x.png")[0] == 0
    refused(cli("plot", run, "--picture", "heatmap", "-o", "new/folder/x.png/y.png"), "cannot create the folder")
    refused(cli("report", run, "-o", "page.pdf"), ".html")
