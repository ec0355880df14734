"""The study in miniature: from training to pictures, killed and continued with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from coupling.analyses.vision import results, study
from coupling.analyses.vision.design import trainings
from coupling.analyses.vision.training import RECORD
from coupling.errors import CouplingError
from tests.helpers import ROOT

RESULTS = (
    results.TABLE, results.STATISTICS, results.SUMMARY, results.SCORES, results.RATES, results.ACCURACIES,
)  # fmt: skip
PROGRAM = """
import sys
from coupling.analyses.vision import run_study
from tests.analyses.vision.test_study import few
if __name__ == "__main__":
    run_study(sys.argv[1], few(), measured=3)
"""


def few():
    """Twelve models of one configuration each: two minutes of one core, most of it imports."""
    return trainings(rates=(0.0, 0.2, 0.4), weight_decays=(0.0, 0.5), depths=(2,), epochs=(1, 2), seeds=(0,))


def start(folder, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(program), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_twice_and_continued_gives_the_same_bytes(tmp_path):
    whole = start(tmp_path / "whole", tmp_path)
    _, said = whole.communicate(timeout=900)
    assert whole.returncode == 0, said
    assert "[12/12] " in said
    assert "12 of 12 models are measured" in said
    broken = tmp_path / "broken"
    for pattern in (f"models/*/{RECORD}", "sweep/runs/*/run.json"):  # once while models train, once in the sweep
        process = start(broken, tmp_path)
        while process.poll() is None and len(list(broken.glob(pattern))) < 4:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert 4 <= len(list(broken.glob(pattern))) < 12
        assert not (broken / results.TABLE).exists()
    trained = {path: path.stat().st_mtime_ns for path in broken.glob("models/*/model.safetensors")}
    process = start(broken, tmp_path)
    assert process.communicate(timeout=900)[1]
    assert process.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in trained} == trained  # nothing was trained again
    for name in RESULTS:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    table = pd.read_csv(broken / results.TABLE)
    assert table["model"].tolist() == [training.name for training in few()]
    assert table[results.measures_in(table)].notna().all().all()
    assert {"line-shape score", "expodistance", "excess K=10 p=2", "coupling K=6 p=1"} <= set(table)
    run = json.loads((broken / "sweep" / "runs" / few()[0].name / "run.json").read_text())
    assert run["prompts"]["count"] == 3


def test_a_folder_of_other_data_is_not_mixed_with_these(tmp_path):
    (tmp_path / study.IDENTITY).write_text('{"data": "CIFAR-10", "measured": 100}')
    with pytest.raises(CouplingError, match=r"a study of something else \(data: 'CIFAR-10' there, 'digits' now"):
        study.run_study(tmp_path, [])


def test_bad_arguments(tmp_path, capsys, monkeypatch):
    with pytest.raises(CouplingError, match="`workers` is 0"):
        study.run_study(tmp_path, workers=0)
    monkeypatch.setattr(sys, "argv", ["vision", "--out", str(tmp_path), "--cifar10", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        study.main()
    assert capsys.readouterr().err.startswith(f"error: there is no CIFAR-10 in {tmp_path}")


def test_a_model_that_cannot_be_measured_is_named(tmp_path):
    training = few()[0]
    folder = tmp_path / study.MODELS / training.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    study.write_array(tmp_path / study.IMAGES, study.data_of("digits").held_out_images[:1])
    with pytest.raises(CouplingError, match=rf"{training.name} was not measured: .*contains no weights"):
        study.measure_study(tmp_path, [training], 1)
