"""Mistakes that can be seen without PyTorch are told before it is loaded."""

import subprocess
import sys

import pytest

from coupling.early import check_early
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


def test_runs_and_models_are_told_apart(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CouplingError, match="is a run, which is not measured but read: coupling show"):
        check_early(str(tmp_path))
    check_early(BUNDLED, tmp_path / "new")
    check_early("timm:vit_tiny_patch16_224")
    check_early("organization/model")
    assert not (tmp_path / "new").exists()
