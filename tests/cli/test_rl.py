"""``coupling rl`` as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from coupling.analyses.rl.warm_start import warm_start
from coupling.cli.progress import StepProgress
from tests.feynrl import save_feynrl_run
from tests.helpers import refused

EARLIER_RUN = Path(__file__).parents[1] / "fixtures" / "runs" / "0.1.0-rl"
YAML = """
model: {model}
objective: grpo
data:
  task: brackets
probe:
  every: 0
trainer:
  max_steps: 3
  per_device_train_batch_size: 8
  num_generations: 4
  max_completion_length: 4
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return warm_start("brackets", steps=3, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run_yaml(model, tmp_path):
    (tmp_path / "run.yaml").write_text(YAML.format(model=model))
    return "run.yaml"


def test_a_run_end_to_end(cli, run_yaml):
    code, out, err = cli("rl", run_yaml, "--out", "out", "--seeds", 2, "--seed", 5)
    assert code == 0, err
    assert "reward" in out
    assert "seed 6: reward" in out
    assert "table: out/table.csv" in err
    assert "coupling plot out --picture rl -o rl.png" in err
    assert pd.read_csv("out/table.csv").seed.tolist() == [5, 5, 5, 6, 6, 6]
    assert cli("plot", "out", "--picture", "rl", "-o", "rl.png")[0] == 0
    refused(cli("rl", run_yaml, "--out", "out"), "already contains a run", "--overwrite")
    code, out, err = cli("rl", run_yaml, "--out", "out", "--overwrite", "--json", "--objective", "dapo")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["table"] == "out/table.csv"
    assert shown["seeds"][0]["steps"] == 3
    assert json.loads(Path("out/run.json").read_text())["config"]["objective"] == "dapo"
    assert cli("rl", run_yaml, "--out", "quiet", "--quiet") == (0, "", "")


def test_a_new_folder_under_runs_by_default(cli, run_yaml, tmp_path):
    assert cli("rl", run_yaml, "--quiet")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("rl-grpo-")


def test_refusals(cli, run_yaml, tmp_path):
    refused(cli("rl", "missing.yaml", "--out", "out"), "cannot read missing.yaml")
    (tmp_path / "wrong.yaml").write_text("data: {task: addition}\ntrainer: {learning_rat: 1}\n")
    refused(cli("rl", "wrong.yaml", "--out", "out"), "trainer.learning_rat", "did you mean learning_rate?")
    (tmp_path / "wrong.yaml").write_text("data: {task: addition}\nmodell: x\n")
    refused(cli("rl", "wrong.yaml", "--out", "out"), "wrong.yaml: there is no key modell", "did you mean model?")
    (tmp_path / "scores.py").write_text("def bad(completions, **_):\n    return [float('nan')] * len(completions)\n")
    (tmp_path / "bad.yaml").write_text((tmp_path / run_yaml).read_text() + "reward: scores:bad\n")
    refused(cli("rl", "bad.yaml", "--out", "out"), "step 1", "scores:bad", "nan")
    refused(cli("rl", "--from-checkpoints", "nowhere"), "cannot read the folder nowhere")


def test_a_reward_that_raises_a_defect_shows_no_traceback(cli, run_yaml, tmp_path):
    (tmp_path / "scores_two.py").write_text("def bad(completions, **_):\n    raise OSError('disk')\n")
    (tmp_path / "bad.yaml").write_text((tmp_path / run_yaml).read_text() + "reward: scores_two:bad\n")
    refused(cli("rl", "bad.yaml", "--out", "out"), "scores_two:bad raised OSError: disk")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run.yaml", "--demo"],
        ["--demo", "--from-checkpoints", "x"],
        ["--demo", "--k", 3],
        ["--from-checkpoints", "x", "--seeds", 2],
        ["--demo", "--objective", "ppo"],
        ["--demo", "--seeds", 0],
        ["--demo", "--truncate"],
        ["--demo", "--resume"],
        ["--demo", "--resume", "--overwrite", "--out", "x"],
        ["--from-checkpoints", "x", "--resume", "--out", "y"],
    ],
)
def test_wrong_usage_is_exit_2(cli, arguments):
    refused(cli("rl", *arguments), "--help", code=2)


def test_without_trl_one_line_says_what_to_install(cli, run_yaml, monkeypatch):
    monkeypatch.setattr("coupling.errors.find_spec", lambda name, *_: None if name == "trl" else sys)
    refused(cli("rl", run_yaml, "--out", "out"), "needs the trl package", "pip install 'block-coupling[rl]'")


def test_a_process_that_is_not_the_main_one_waits_before_it_reports(cli, run_yaml, monkeypatch):
    waited = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("coupling.cli.app.time.sleep", waited.append)
    refused(cli("rl", "missing.yaml", "--out", "out"), "cannot read missing.yaml")  # no other process has reported it
    assert waited == [10]


def two_processes(*arguments):
    """Run a command as ``accelerate launch`` does; (exit code, stdout, this project's lines of stderr)."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "coupling.cli",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    ours = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "table: ", "draw it: "))]
    return done.returncode, done.stdout, ours


@pytest.mark.slow
def test_only_the_main_one_of_two_processes_writes_and_logs(cli, run_yaml, tmp_path):
    probed = (tmp_path / run_yaml).read_text().replace("every: 0", "every: 2\n  k: 4")
    (tmp_path / "probed.yaml").write_text(probed + "lora: {r: 2, target_modules: all-linear}\n")
    code, out, ours = two_processes("rl", "probed.yaml", "--out", "out", "--objective", "p3o")
    assert code == 0
    assert out.count("over the last") == 1
    assert [line.split(":")[0] for line in ours] == ["table", "draw it"]
    table = pd.read_csv("out/table.csv")
    assert table.step.tolist() == [0, 1, 2, 3]
    assert table.score.notna().tolist() == [True, False, True, True]
    assert json.loads(Path("out/run.json").read_text())["finished"] is True
    code, out, ours = two_processes("rl", "probed.yaml")
    assert code != 0
    assert len(ours) == 1
    assert "give --out" in ours[0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_reward_that_fails_in_one_of_two_processes_ends_both_with_one_message(cli, run_yaml, tmp_path, rank):
    (tmp_path / "scores_three.py").write_text(
        "import os\n\ndef bad(completions, trainer_state, **_):\n"
        f"    if trainer_state.global_step == 1 and os.environ['RANK'] == '{rank}':\n        raise OSError('disk')\n"
        "    return [float(len(text)) for text in completions]\n"
    )
    (tmp_path / "bad.yaml").write_text((tmp_path / run_yaml).read_text() + "reward: scores_three:bad\n")
    code, out, ours = two_processes("rl", "bad.yaml", "--out", "out")
    assert code != 0
    assert out == ""
    assert ours == [
        "error: step 2: the reward scores_three:bad raised OSError: disk; the steps before it are in out/table.csv"
    ]
    assert pd.read_csv("out/table.csv").step.tolist() == [1]


@pytest.mark.parametrize("checkpoints", [True, False])
def test_an_interrupted_run_says_how_to_continue_if_it_can(cli, run_yaml, tmp_path, monkeypatch, checkpoints):
    kept = "  save_strategy: steps\n  save_steps: 1\n" if checkpoints else ""
    (tmp_path / "kept.yaml").write_text((tmp_path / run_yaml).read_text() + kept)
    real = StepProgress.over_seeds

    def interrupting(self, *arguments):
        move = real(self, *arguments)

        def moved(seed, done, total, row):
            move(seed, done, total, row)
            if done == 3:
                raise KeyboardInterrupt

        return moved

    monkeypatch.setattr(StepProgress, "over_seeds", interrupting)
    code, out, err = cli("rl", "kept.yaml", "--out", "out")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; the table of the steps before it is in out")
    assert ("--out out --resume" in err) == checkpoints
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if checkpoints:
        code, out, err = cli("rl", "kept.yaml", "--out", "out", "--resume")
        assert code == 0, err
    assert pd.read_csv("out/table.csv").step.tolist() == [1, 2, 3]


def test_output_of_a_reward_or_of_trl_is_not_on_stdout(cli, run_yaml, tmp_path):
    (tmp_path / "talkative.py").write_text(
        "import os\n\ndef score(completions, **_):\n    print('hello')\n    os.system('echo child')\n"
        "    return [float(len(text)) for text in completions]\n"
    )
    (tmp_path / "talk.yaml").write_text(
        (tmp_path / run_yaml).read_text() + "  log_completions: true\nreward: talkative:score\n"
    )
    code, out, err = cli("rl", "talk.yaml", "--out", "out", "--json")
    assert code == 0, err
    assert json.loads(out)["seeds"][0]["steps"] == 3
    assert "hello" in err
    assert "Completion" in err  # TRL's table of them
    code, out, _ = cli("rl", "talk.yaml", "--out", "quiet", "--quiet")
    assert (code, out) == (0, "")


def test_checkpoints_of_a_run_are_measured_on_its_own_probe(cli, run_yaml, tmp_path):
    (tmp_path / "kept.yaml").write_text(
        (tmp_path / run_yaml).read_text().replace("every: 0", "every: 1\n  k: 4\n  count: 3")
        + "  save_strategy: steps\n  save_steps: 1\n"
    )
    code, _, err = cli("rl", "kept.yaml", "--out", "out", "--seed", 3)
    assert code == 0, err
    code, _, err = cli("rl", "--from-checkpoints", "out", "--out", "whole")  # the run's folder does as well
    assert code == 0, err
    code, out, err = cli("rl", "--from-checkpoints", "out/trainer", "--out", "after")
    assert code == 0, err
    assert Path("whole/table.csv").read_text() == Path("after/table.csv").read_text().replace("trainer,", "out,")
    assert "over the first tenth" not in out
    assert json.loads(Path("after/run.json").read_text())["prompts"] == {"source": "the probe of out", "count": 3}
    during, after = (pd.read_csv(f"{folder}/table.csv").set_index("step") for folder in ("out", "after"))
    for column in ("score", "mismatch_to_initial"):  # step 0 is the model that the run began from
        assert after[column].tolist() == pytest.approx(during[column].loc[[0, 1, 2, 3]].tolist(), abs=1e-5)
    assert "mismatch to initial is measured against the initial model" in err
    assert during.seed.unique().tolist() == [3]
    code, _, err = cli("rl", "--from-checkpoints", "out/trainer", "--out", "other", "--prompts", "()" * 60)
    assert code == 1
    assert "--truncate" in err
    code, _, err = cli(
        "rl",
        "--from-checkpoints",
        "out/trainer",
        "--out",
        "other",
        "--prompts",
        "()" * 60,
        "--k",
        4,
        "--truncate",
        "--overwrite",
    )
    assert code == 0, err


def test_checkpoints_of_another_program(cli, model, tmp_path):
    feynrl_run = save_feynrl_run(tmp_path / "experiment", model)
    (tmp_path / "p.txt").write_text("([{=\n<>(=\n(=\n")
    (feynrl_run / "logs").mkdir()
    arguments = ("rl", "--from-checkpoints", feynrl_run, "--prompts", "p.txt", "--limit", 2, "--k", 5, "--out", "out")
    code, out, err = cli(*arguments)
    assert code == 0, err
    assert "to initial" in out
    assert "not measured: logs: there is no checkpoint in it" in err
    assert "coupling plot out --picture rl -o rl.png" in err
    assert pd.read_csv("out/table.csv").step.tolist() == [16, 80, 88]
    refused(cli(*arguments), "--overwrite")
    code, out, _ = cli(*arguments, "--overwrite", "--json")
    shown = json.loads(out)
    assert shown["skipped"][0]["folder"] == "logs"
    assert [row["step"] for row in shown["seeds"][0]["rows"]] == [16, 80, 88]
    assert cli(*arguments, "--overwrite", "--quiet") == (0, "", "")
    options = [
        word for step, name in ((3, "000002"), (5, "000011")) for word in ("--from-checkpoints", f"{step}=x{name}")
    ]
    for name in ("000002", "000011"):
        Path(f"x{name}").symlink_to(feynrl_run / f"iter{name}_v{name}")
    assert cli("rl", *options, "--prompts", "p.txt", "--k", 5, "--out", "pairs", "--quiet")[0] == 0
    assert pd.read_csv("pairs/table.csv").step.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--demo", "--k", 3, "--truncate"], "--k and --truncate apply to --from-checkpoints; for a run, RUN.yaml has"),
        (["--from-checkpoints", "x", "--seeds", 2], "--seeds applies to a run, but not to --from-checkpoints"),
        (["--from-checkpoints", "x", "--column", "text"], "--column applies to --prompts"),
        (["--demo", "--objective", "ppo"], "cispo"),
    ],
)
def test_wrong_usage_names_the_options(cli, arguments, message):
    refused(cli("rl", *arguments), message, code=2)


def test_errors_of_the_library_name_options(cli, run_yaml, tmp_path):
    text = (tmp_path / run_yaml).read_text()
    (tmp_path / "wrong.yaml").write_text(text + "  output_dir: elsewhere\n")
    refused(cli("rl", "wrong.yaml", "--out", "out"), "trainer.output_dir cannot be set: --out names the folder")
    refused(cli("rl", run_yaml, "--out", "out", "--resume"), "out contains no run of coupling rl to continue")


def test_a_run_of_the_previous_version_is_drawn(cli):
    assert cli("plot", EARLIER_RUN, "--picture", "rl", "-o", "rl.png")[0] == 0
    assert Path("rl.png").stat().st_size > 10_000
