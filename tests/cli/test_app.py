"""Exit codes, and one line for every mistake, whatever the command."""

import subprocess
import sys

import pytest

from coupling.cli import app
from tests.helpers import refused


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "--k", "0"], ["analyze", "--k", "ten"], ["analyze", "--nonsense"], ["analyze", "--kind", "width"],
        ["analyze", "--limit", "0"], ["analyze", "--overwrite", "--resume"], ["analyze", "--resume"], ["frobnicate"],
        ["analyze", "--tokens", "first"], ["analyze", "--block-pair", "3"], ["analyze", "a", "b"], ["show"],
        ["analyze", "--prompts", "x", "--dataset", "y"], ["analyze", "--split", "test"],
        ["analyze", "--seed", "99999999999999999999"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2(cli, arguments):
    refused(cli(*arguments), "--help", code=2)


def test_no_command_is_help_and_exit_2(cli):
    code, out, err = cli()
    assert code == 2
    assert "analyze" in out + err
    assert "error" not in err


def test_a_defect_of_ours_is_one_line_too(cli, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("coupling.measured_inputs.record_blocks", broken)
    monkeypatch.delenv("COUPLING_DEBUG", raising=False)
    refused(cli("analyze", "--limit", 1, "--out", "run"), "unexpected RuntimeError: two lines", "COUPLING_DEBUG=1")
    monkeypatch.setenv("COUPLING_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["coupling", "analyze", "--limit", "1", "--out", "other"])
    with pytest.raises(RuntimeError):
        app.main()


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['coupling', '--help']\nfrom coupling.cli.app import main\n" \
           "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
