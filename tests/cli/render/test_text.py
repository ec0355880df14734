"""Text from outside is printed as it is, on any console."""

import io

import numpy as np
import pytest
from rich.console import Console

from coupling.cli.output import PlainConsole
from coupling.cli.render.comparison import print_comparison
from coupling.cli.render.run import print_run
from coupling.cli.render.text import plain
from coupling.summary import compare_runs, summarize

HOSTILE = "[red]a[/] \x1b[31mb\u202e :smile: \\"
SHOWN = "[red]a[/] \\x1b[31mb\\u202e :smile: \\"


def test_nothing_is_markup_and_nothing_acts():
    assert plain(HOSTILE).plain == SHOWN
    assert len(plain("a" * 1000).plain) == 200


@pytest.mark.parametrize("make", [PlainConsole, Console])
def test_attributes_of_runs(measured, make):
    hostile = measured.copy()
    hostile.attrs |= {
        "model": HOSTILE,
        "architecture": HOSTILE,
        "prompts": HOSTILE,
        "device": HOSTILE,
        "dtype": HOSTILE,
    }
    screen = make(file=io.StringIO(), width=400, force_terminal=False)
    print_run(summarize(hostile), screen)
    print_comparison(compare_runs(hostile, measured), (HOSTILE, HOSTILE), screen)
    text = screen.file.getvalue()
    assert text.count(SHOWN) >= 8
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert np.isfinite(measured.mismatch.values).any()
