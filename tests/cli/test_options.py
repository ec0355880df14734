"""Options that several commands share, and Python arguments written as options."""

import re
import subprocess
import sys
import time

import pytest
import typer

from coupling.cli.options import (
    as_options,
    formerly,
    new_folder,
    parse_ks,
    parse_pair,
    parse_range,
    parse_selection,
    parse_steps,
    parse_tokens,
)
from coupling.errors import CouplingError
from tests.helpers import ROOT, refused
from tests.tiny_checkpoints import save_tiny


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("give `resume=True` or `overwrite=True`", "give --resume or --overwrite"),
        ("`dtype` is 'x'; try `dtype='float64'`", "--dtype is 'x'; try --dtype float64"),
        ("`block_pairs` applies to kind self", "--block-pair applies to kind self"),
        ("name them, as in `block_list='model.layers'`", "name them, as in --block-list model.layers"),
        ("a model named `mine` stays", "a model named `mine` stays"),
    ],
)
def test_python_arguments_become_options(message, shown):
    options = {"--resume", "--overwrite", "--dtype", "--block-pair", "--block-list"}
    assert as_options(message, options) == shown


def test_a_command_is_not_told_of_options_that_it_lacks():
    assert as_options("give `resume=True` or `trust_remote_code=True`", {"--resume"}) == (
        "give --resume or `trust_remote_code=True`"
    )


def test_the_library_names_no_command_line_options():
    """Messages and docstrings of the library name Python arguments; only the command line has hyphens."""
    for path in sorted((ROOT / "coupling").rglob("*.py")):
        if any(parent.is_symlink() for parent in path.parents):
            continue
        found = re.findall(r"(?<![-\w])--[a-z][a-z-]+", path.read_text())
        allowed = {"--logprobs-mode"}  # an option of vLLM's server
        assert set(found) <= allowed, f"{path}: {found}"


def test_k_is_a_number_a_share_or_several():
    assert parse_ks(None) is parse_ks([]) is None
    assert parse_ks(["10"]) == (10,)
    assert parse_ks(["10,5", " 10% ", "2.50%"]) == (10, 5, "10%", "2.5%")  # in order
    for wrong in ("ten", "0", "-3", "5,", "0%"):
        with pytest.raises(typer.BadParameter, match="K is"):
            parse_ks([wrong])


def test_a_renamed_option_warns_and_works(capsys):
    assert formerly("--kind", None, "--picture", "grid") == "grid"
    assert formerly("--kind", "grid", "--picture", None) == "grid"
    assert capsys.readouterr().err == "warning: --kind is now called --picture\n"
    with pytest.raises(typer.BadParameter):
        formerly("--kind", "grid", "--picture", "heatmap")


def test_former_options_of_analyze_and_plot(cli):
    code, _, err = cli("analyze", "--limit", 1, "--k", 2, "--out", "run", "--blocks", "layers", "--quiet")
    assert (code, err) == (0, "warning: --blocks is now called --block-list\n")
    code, _, err = cli("plot", "run", "--kind", "heatmap", "-o", "x.png")
    assert (code, err) == (0, "warning: --kind is now called --picture\nsaved x.png\n")
    refused(cli("plot", "run", "-o", "x.png"), "--picture is missing", code=2)


def test_tokens_pairs_and_ranges():
    assert parse_tokens("all") == "all"
    assert parse_tokens("last") == "last"
    assert parse_tokens("3") == 3
    assert parse_tokens("0, 5,-1,last") == (0, 5, -1, "last")
    assert parse_pair("2:5") == (2, 5)
    assert parse_range("4:12", "blocks") == (4, 12)
    assert parse_range(":12", "blocks") == (0, 12)
    assert parse_range("4:", "blocks")[0] == 4
    assert parse_selection("5", "tokens") == 5
    assert parse_selection("-1", "tokens") == -1
    assert parse_selection("last", "tokens") == "last"
    assert parse_selection("1:20", "tokens") == (1, 20)
    with pytest.raises(typer.BadParameter, match="must be one such as 5, last, or a range"):
        parse_selection("first", "tokens")
    for parse, text in ((parse_tokens, "first"), (parse_pair, "2"), (lambda t: parse_range(t, "blocks"), "5:4")):
        with pytest.raises(typer.BadParameter):
            parse(text)


def test_a_new_folder_is_new(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = new_folder("org/model")
    assert first.name.startswith("model-")
    assert first.is_dir()
    second = new_folder("org/model")
    assert second != first

    def taken(*_, **__):
        raise FileExistsError

    monkeypatch.setattr("coupling.cli.options.Path.mkdir", taken)
    with pytest.raises(CouplingError, match="no free folder name"):
        new_folder(None)


SAME_SECOND = """
import sys, time
from datetime import datetime
from pathlib import Path
from coupling.cli import options

class Frozen(datetime):
    @classmethod
    def now(cls, *_):
        return cls(2024, 1, 1)

options.datetime = Frozen
"""
AT_ONCE = (
    SAME_SECOND
    + """
Path(f"ready-{sys.argv[2]}").touch()
while not Path("go").exists():
    time.sleep(0.001)
print(options.new_folder(sys.argv[1]))
"""
)
COMMAND = SAME_SECOND + "from coupling.cli import app; app.main()"


def test_commands_that_start_at_once_get_folders_of_their_own(tmp_path):
    """As `coupling analyze` and `coupling rl` name them, eight processes each."""
    names = [name for name in ("org/model", "rl-p3o", "rl-trained") for _ in range(8)]
    processes = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, name, str(number)], cwd=tmp_path, stdout=subprocess.PIPE)
        for number, name in enumerate(names)
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(names):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    folders = [process.communicate(timeout=60)[0].decode().strip() for process in processes]
    assert len(set(folders)) == len(names)
    assert {folder.partition("-2024")[0] for folder in folders} == {"runs/model", "runs/rl-p3o", "runs/rl-trained"}
    assert sorted(folders) == sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_whole_commands_of_the_same_second_keep_their_results_apart(tmp_path):
    save_tiny(tmp_path / "trained" / "checkpoint-1")
    (tmp_path / "run.yaml").write_text(
        "model: trained/checkpoint-1\ndata: {file: rows.jsonl, answer: null}\nreward: rewards:length\n"
        "probe: {every: 1, k: 2, count: 1}\n"
        "trainer: {max_steps: 1, per_device_train_batch_size: 4, num_generations: 4, max_completion_length: 4}\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a b"}\n{"prompt": "c d"}\n' * 4)
    (tmp_path / "rewards.py").write_text(
        "def length(completions, **_):\n    return [float(len(c)) for c in completions]\n"
    )
    prompts = ("--prompts", "a b c", "--k", "2")
    commands = [("analyze", "trained/checkpoint-1", *prompts)] * 2
    commands += [("rl", "run.yaml")] * 2 + [("rl", "--from-checkpoints", "trained", *prompts)] * 2
    commands += [("sweep", "trained/checkpoint-*", *prompts)] * 2
    processes = [
        subprocess.Popen([sys.executable, "-c", COMMAND, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    errors = [process.communicate(timeout=600)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes[:6] == [0] * 6, errors
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    for start in ("checkpoint-1-", "rl-p3o-", "rl-trained-"):
        assert sum(name.startswith(start) for name in runs) == 2
    assert all((tmp_path / "runs" / name / "run.json").exists() for name in runs)
    # A sweep has one folder, so of two at once one works, and the other is refused, or finds nothing left to do.
    assert sorted(codes[6:]) in ([0, 0], [0, 1]), errors
    if 1 in codes[6:]:
        assert "another coupling sweep works on sweeps/trained" in errors[6 + codes[6:].index(1)]


def test_training_steps():
    assert parse_steps("0, 64,1000") == [0, 64, 1000]
    with pytest.raises(typer.BadParameter, match="0,64,1000"):
        parse_steps("0:64")
