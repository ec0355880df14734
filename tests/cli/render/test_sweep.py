"""How a sweep looks."""

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from coupling.analyses.sweep.status import Running, Status
from coupling.cli.render.sweep import SweepProgress, print_index, print_status, totals


def console(*, terminal=False, quiet=False, width=100):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, quiet=quiet)


@pytest.fixture
def found():
    counts = {"waiting": 5, "running": 1, "done": 3, "failed": 1, "set aside": 0}
    running = [Running("m@step4", 2, 8, 0.2, 75.0, "host[1]")]
    ended = [("m@step1", "done", 8.0), ("m@step2", "failed", 90.0)]
    return Status(
        Path("study"), counts, running, [("m@step2", "failed", "it [broke]")], ended, 100.0, 7300.0, {"pid": 1}
    )


def test_totals(found):
    assert totals(found) == ("10 tasks: 5 waiting, 1 running, 3 done, 1 failed; 1:40 min so far, about 2:01 h left")


def test_images_are_called_images(found):
    screen = console(terminal=True)
    with SweepProgress(screen) as progress:
        progress(replace(found, running=[replace(found.running[0], word="image")]))
    assert "image 2/8" in screen.file.getvalue()


def test_plain_lines_are_said_once(found):
    screen = console()
    with SweepProgress(screen) as progress:
        progress(found)
        progress(found)
    assert screen.file.getvalue().splitlines() == [
        "m@step1 done after 8.0 s",
        "m@step2 failed after 1:30 min: it [broke]",
        totals(found),
    ]
    assert progress.so_far() == ": 3 of 10 tasks are done"


def test_a_terminal_shows_one_line_per_running_task(found):
    screen = console(terminal=True)
    with SweepProgress(screen) as progress:
        assert progress.so_far() == ""
        progress(found)
    shown = screen.file.getvalue()
    assert "m@step4" in shown
    assert "prompt 2/8" in shown
    assert "20%" in shown
    assert "1:15 min" in shown


def test_quiet_is_quiet(found):
    for terminal in (True, False):
        screen = console(terminal=terminal, quiet=True)
        with SweepProgress(screen) as progress:
            progress(found)
        assert screen.file.getvalue() == ""


def test_status(found):
    screen = console()
    print_status(found, screen)
    text = screen.file.getvalue()
    assert "prompt 2/8" in text
    assert "m@step2 failed: it [broke]" in text
    assert "no sweep is running" not in text


def test_the_table_fits_a_narrow_terminal():
    rows = {
        "task": ["pythia-160m-deduped@step143000", "b"], "state": ["done", "waiting"], "step": [143000, None],
        "score": [0.123456, None], "chance": [0.01, None], "excess": [0.2, None],
        "seconds": [75.0, None],
    }  # fmt: skip
    table = pd.DataFrame(rows).astype({"step": "Int64"})
    screen = console(width=80)
    print_index(table, screen)
    text = screen.file.getvalue()
    assert "pythia-160m-deduped" in text
    for cell in ("done", "143000", "0.123", "20.0%", "1:15 min", "waiting"):
        assert cell in text
    print_index(table.iloc[1:], console())  # no task has a step
    print_index(pd.concat([table] * 30), screen)
    assert "... and 20 more tasks, all in index.csv" in screen.file.getvalue()
