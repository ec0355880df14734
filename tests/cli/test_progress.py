"""Progress bars, and other libraries' messages."""

import io

import pytest
from rich.console import Console

import coupling
from coupling.cli.output import PlainConsole
from coupling.cli.progress import PromptProgress, StepProgress
from tests.saved_rl import write_rl_run
from tests.vision import digits, save_vit


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def state(bar):
    (task,) = bar._progress.tasks
    return task.description, task.completed, task.total


def test_prompts(console):
    with PromptProgress(console, "org/[model]") as progress:
        assert state(progress) == ("loading org/[model]", 0, None)
        progress(1, 4, 3, 6)
        assert state(progress) == ("prompt 2/4, Jacobian 3/6", 1.5, 4)


def test_images(console, tmp_path):
    vit = save_vit(tmp_path / "vit")
    with PromptProgress(console, "vit") as progress:
        coupling.analyze(vit, images=digits(2), k=2, progress=progress)
        assert state(progress) == ("image 2/2, Jacobian 3/3", 2, 2)


def test_steps_over_seeds(console):
    with StepProgress(console, "loading the model") as progress:
        move = progress.over_seeds(2, 5)
        move(5, 1, 10, {"reward": 0.25})
        assert state(progress) == ("seed 5, step 1/10, reward 0.250", 1, 20)
        move(6, 2, 10, {})  # without a reward of its own
        assert state(progress) == ("seed 6, step 2/10, reward 0.250", 12, 20)
        progress.over_seeds(1, 5)(5, 3, 10, {})
        assert state(progress) == ("step 3/10", 3, 10)


def test_checkpoints(console):
    with StepProgress(console, "looking at runs") as progress:
        progress.checkpoint(1, 3, "checkpoint-20")
        assert state(progress) == ("checkpoint-20", 1, 3)


def test_nothing_is_drawn_where_nobody_looks():
    output = io.StringIO()
    with PromptProgress(Console(file=output), "m") as progress:
        progress(0, 1, 1, 2)
    assert output.getvalue() == ""


def test_what_takes_longer_than_a_second_shows_that_it_works(cli, monkeypatch, tmp_path):
    assert cli("analyze", "--limit", 2, "--k", 3, "--out", "one", "--quiet")[0] == 0
    shown = []
    usual = PlainConsole.status
    monkeypatch.setattr(PlainConsole, "status", lambda self, text, **more: shown.append(text) or usual(self, text))
    (tmp_path / "scores.csv").write_text("model,mmlu\nbundled,1\n")
    for command in (
        ("show", "one"),
        ("show", "one", "one"),
        ("diff", "one", "one"),
        ("plot", "one", "--picture", "heatmap", "-o", "a.png"),
        ("report", "one", "-o", "a.html"),
        ("report", str(write_rl_run(tmp_path / "rl")), "-o", "rl.html"),
        ("correlate", "one", "--scores", "scores.csv"),
    ):
        shown.clear()
        _, out, err = cli(*command)
        assert shown, command
        assert not any(text in out + err for text in shown)  # not on what is no terminal


def test_a_terminal_sees_the_spinner():
    stream = io.StringIO()
    screen = PlainConsole(file=stream, force_terminal=True, width=60)
    with screen.status("drawing heatmap"):
        pass
    assert "drawing heatmap" in stream.getvalue()
