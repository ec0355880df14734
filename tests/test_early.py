"""Mistakes that can be seen without PyTorch are told before it is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from coupling.early import check_early, check_picture_name
from coupling.errors import CouplingError
from tests.helpers import BUNDLED

PROGRAM = """
import sys
from typer.testing import CliRunner
from coupling.cli.app import app
result = CliRunner().invoke(app, sys.argv[1:])
loaded = {"torch", "transformers", "datasets"} & set(sys.modules)
print(repr(result.exception), "loaded:", sorted(loaded))
"""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["./missing"], "there is no folder ./missing"),
        (["--prompts", "missing.txt"], "cannot read the prompts file missing.txt"),
        (["--out", BUNDLED], "contains other files and no run"),
        (["--tol", "-1"], "`tol`"),
        (["--limit", "1", "--prompts", "missing.jsonl", "--json"], "cannot read the prompts file"),
    ],
)
def test_wrong_folders_files_and_settings_are_found_without_torch(arguments, problem):
    command = [sys.executable, "-c", PROGRAM, "analyze", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert problem in done.stdout, done.stdout + done.stderr
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show", "missing"], "there is no folder missing"),
        (["diff", BUNDLED, "missing"], "contains no run"),
        (["directions", "missing"], "there is no folder missing"),
        (["plot", "missing", "--picture", "heatmap", "-o", "a.png"], "there is no folder missing"),
        (["plot", "missing", "--picture", "heatmap", "-o", "a.txt"], "must end in .png, .svg, .pdf"),
        (["plot", "missing.csv", "--picture", "scatter", "-o", "a.png"], "there is no file missing.csv"),
        (["report", "missing", "-o", "a.html"], "there is no folder missing"),
        (["report", "missing", "-o", "a.pdf"], "must end in .html"),
        (["correlate", "missing", "--scores", "leaderboard"], "there is no folder missing"),
        (["sweep", "missing.yaml"], "cannot read the study file missing.yaml"),
        (["status", "missing"], "is not the folder of a study"),
    ],
)
def test_what_is_missing_is_told_before_anything_heavy_is_imported(arguments, problem):
    heavy = "torch transformers datasets xarray pandas matplotlib scipy statsmodels"
    program = PROGRAM.replace('{"torch", "transformers", "datasets"}', f"set({heavy.split()})")
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert problem in done.stdout, done.stdout + done.stderr
    assert done.stdout.endswith("loaded: []\n")


def test_pictures_have_a_suffix_that_is_known():
    check_picture_name(Path("a/B.PNG"))
    with pytest.raises(CouplingError, match=r"a\.gif must end in \.png, \.svg, \.pdf"):
        check_picture_name(Path("a.gif"))


def test_runs_and_models_are_told_apart(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CouplingError, match="is a run, which is not measured but read: coupling show"):
        check_early(str(tmp_path))
    check_early(BUNDLED, tmp_path / "new")
    check_early("timm:vit_tiny_patch16_224")
    check_early("organization/model")
    assert not (tmp_path / "new").exists()


def test_missing_scores_are_told_before_anything_heavy_is_imported(tmp_path):
    for name in ("run.nc", "run.json"):
        (tmp_path / name).write_text("{}")
    program = PROGRAM.replace('{"torch", "transformers", "datasets"}', '{"torch", "xarray", "pandas", "statsmodels"}')
    command = [sys.executable, "-c", program, "correlate", str(tmp_path), "--scores", "missing.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot read the scores missing.csv" in done.stdout, done.stdout + done.stderr
    assert done.stdout.endswith("loaded: []\n")
