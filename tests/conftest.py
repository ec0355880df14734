"""Fixtures that several tests share: runs, the command line, and a list of architectures."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import atexit
import gc
import signal
import sys

import numpy as np
import pytest
import torch
import transformers

import coupling
from coupling.cli import app
from coupling.run_folder import RunFolder
from tests.helpers import ARCHITECTURES, make_ids, make_model

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


atexit.register(gc.unfreeze)  # some libraries look at the end for objects that were never collected


@pytest.fixture(scope="module", autouse=True)
def _imports_are_not_collected():
    """Garbage collection leaves out what was imported: half a second each time, and trainers collect at every step."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request) -> str:
    return request.param


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["coupling", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def measured():
    """One real run, small."""
    return coupling.measure(make_model("llama"), [make_ids(0, 5), make_ids(1, 7)], k=(2, 3))


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, measured):
    """Save a run of that name whose mismatch is so many times the real one's; its folder."""

    def make(name: str, factor: float, **attributes: object) -> str:
        run = measured.copy(deep=True)
        for variable in ("mismatch", "mismatch_signed", "mismatch_swapped", "mismatch_swapped_signed"):
            run[variable] = run[variable] * factor
        run.attrs |= {"model": name, "parameters": int(1e6 * (1 + np.sin(factor * 40) ** 2)), "width": 32,
                      "prompts": "bundled", "prompts_hash": "0"} | attributes  # fmt: skip
        folder = tmp_path_factory.mktemp("run")
        RunFolder(folder, {}).finish(run, {})
        return str(folder)

    return make


FACTORS = (0.70, 0.73, 0.79, 0.83, 0.90, 0.98)


@pytest.fixture(scope="session")
def six_runs(make_run):
    return [make_run(f"org/model-{at}", factor) for at, factor in enumerate(FACTORS)]


@pytest.fixture
def six(six_runs, tmp_path):
    """Six runs and a CSV of scores in which coupling and mmlu go together exactly."""
    rows = [f"Model_{at},{100 - 50 * factor:.6f},{at % 3},1.5" for at, factor in enumerate(FACTORS)]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["model,mmlu,noise,same", *rows]) + "\n")
    return six_runs, str(path)


PICTURED = ["import os\nimport sys", "def main():\n    return 0", "The $cost$ is <b>5</b>"]


@pytest.fixture(scope="session")
def run():
    return coupling.analyze(prompts=PICTURED, k=(3, 5))


@pytest.fixture(scope="session")
def untrained():
    return coupling.analyze(prompts=PICTURED, k=(3, 5), random_weights=True)


@pytest.fixture(scope="session")
def token_run():
    return coupling.analyze(prompts=["for name in names:\n    print(name, file=sys.stderr)\n"], k=(3,), kind="self")


@pytest.fixture(scope="session")
def deep_run():
    """32 blocks, K up to 50, 28 prompts (one was measured)."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=32,
                         num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    measured = coupling.measure(transformers.LlamaModel(config).eval(), torch.arange(12)[None], k=(10, 50))
    return measured.isel(prompt=[0] * 28).assign_coords(prompt=range(28))
