"""``coupling rl`` killed, terminated, started twice, or ended by a reward: nothing is lost, and the exit code tells."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from coupling.analyses.rl.warm_start import warm_start
from coupling.locking import locked
from tests.helpers import refused

YAML = """
model: {model}
data: {{task: brackets}}
reward: slow_rewards:score
probe: {{every: 2, k: [4], count: 2}}
trainer: {{max_steps: 4, per_device_train_batch_size: 8, num_generations: 4, max_completion_length: 4,
  learning_rate: 1.0e-3, save_strategy: steps, save_steps: 2}}
"""
SLOW = """
import time
from pathlib import Path

def score(completions, trainer_state, **_):
    if Path("seed-one").exists() and trainer_state.global_step == 3:
        Path("waiting").touch()
        time.sleep(120)
    return [float(len(text)) for text in completions]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return warm_start("brackets", steps=3, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run_yaml(model, tmp_path):
    (tmp_path / "slow_rewards.py").write_text(SLOW)
    (tmp_path / "run.yaml").write_text(YAML.format(model=model))
    return "run.yaml"


def stopped_in_the_second_seed(tmp_path: Path, how: signal.Signals) -> tuple[int, str]:
    """Start the real command, stop it in the last step of the second of two seeds; (exit code, stderr)."""
    command = [sys.executable, "-m", "coupling.cli", "rl", "run.yaml", "--seeds", "2", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "waiting").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        record = tmp_path / "out" / "run.json"
        if record.exists() and json.loads(record.read_text())["seeds_done"]:
            (tmp_path / "seed-one").touch()  # from now on, the last step waits
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    (tmp_path / "seed-one").unlink()
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow)],
)
def test_finished_seeds_are_kept_however_the_run_is_stopped(cli, run_yaml, tmp_path, how, code):
    whole, out, err = cli("rl", run_yaml, "--seeds", 2, "--out", "whole", "--json")
    assert whole == 0, err
    expected = json.loads(out)["seeds"]
    status, err = stopped_in_the_second_seed(tmp_path, how)
    assert status == code
    assert "Traceback" not in err
    if how == signal.SIGTERM:
        assert err.splitlines()[-1].startswith("interrupted; the table of the steps before it is in out; continue with")
    record = json.loads(Path("out/run.json").read_text())
    assert (record["seeds_done"], record["steps"], record["finished"]) == ([0], {"0": 4}, False)
    status, out, err = cli("rl", run_yaml, "--seeds", 2, "--out", "out", "--resume", "--json")
    assert status == 0, err
    assert json.loads(out)["seeds"] == expected
    assert Path("out/table.csv").read_bytes() == Path("whole/table.csv").read_bytes()
    assert [path.name for path in Path("out").iterdir() if path.name.startswith(".")] == []


def test_a_second_process_is_refused(cli, run_yaml, tmp_path):
    with locked(tmp_path / "out"):
        for option in ((), ("--overwrite",)):
            refused(cli("rl", run_yaml, "--out", "out", *option), "another process is writing to the folder", "--out")
    assert cli("rl", run_yaml, "--out", "out", "--quiet") == (0, "", "")
    before = Path("out/table.csv").read_bytes()
    with locked(tmp_path / "out"):
        for option in ("--overwrite", "--resume"):
            refused(cli("rl", run_yaml, "--out", "out", option), "another process is writing to the folder")
        checkpoints = ("rl", "--from-checkpoints", "out/trainer", "--out", "after")
        with locked(tmp_path / "after"):
            refused(cli(*checkpoints), "another process is writing to the folder after")
    assert Path("out/table.csv").read_bytes() == before


@pytest.mark.parametrize("code", [0, 1])
def test_a_reward_that_ends_the_program_is_an_error(cli, run_yaml, tmp_path, code):
    (tmp_path / f"ending_{code}.py").write_text(f"import sys\n\ndef score(completions, **_):\n    sys.exit({code})\n")
    (tmp_path / "ends.yaml").write_text((tmp_path / run_yaml).read_text().replace("slow_rewards", f"ending_{code}"))
    refused(cli("rl", "ends.yaml", "--out", "out"), f"step 1: the reward ending_{code}:score raised SystemExit: {code}")


def test_a_reward_that_hangs_ends_after_its_time(cli, run_yaml, tmp_path):
    (tmp_path / "hanging.py").write_text("import time\n\ndef score(completions, **_):\n    time.sleep(100)\n")
    text = (tmp_path / run_yaml).read_text().replace("slow_rewards", "hanging")
    (tmp_path / "hangs.yaml").write_text(text + "reward_timeout: 0.3\n")
    refused(cli("rl", "hangs.yaml", "--out", "out"), "step 1: the reward hanging:score took longer than reward_timeout")


def test_modules_outside_the_folder_of_the_yaml_are_imported_only_when_trusted(cli, run_yaml, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "outside_rewards.py").write_text(f"open('ran', 'w').close()\n{SLOW}")
    text = (tmp_path / run_yaml).read_text().replace("slow_rewards", "outside_rewards")
    (tmp_path / "configs" / "run.yaml").write_text(text)
    arguments = ("rl", "configs/run.yaml", "--out", "out")
    refused(cli(*arguments), "outside_rewards.py, which is neither", "--trust-rewards")
    assert not Path("ran").exists()
    assert not Path("out").exists()
    assert cli(*arguments, "--trust-rewards", "--quiet") == (0, "", "")
    assert Path("ran").exists()
    refused(cli("rl", "--from-checkpoints", "x", "--trust-rewards"), "--trust-rewards applies to a run", code=2)


def test_the_table_of_a_resumed_run_has_no_gap(cli, run_yaml, tmp_path):
    assert cli("rl", run_yaml, "--out", "out", "--quiet") == (0, "", "")
    table = pd.read_csv("out/table.csv")
    table[table.step != 2].to_csv("out/table.csv", index=False)
    refused(cli("rl", run_yaml, "--out", "out", "--resume"), "lacks step 2 of seed 0", "--overwrite")
