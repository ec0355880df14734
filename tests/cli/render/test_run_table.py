"""How many runs look."""

import io

import coupling
from coupling.cli.output import PlainConsole
from coupling.cli.render.numbers import figures
from coupling.cli.render.run_table import print_run_table


def shown(table, width):
    text = io.StringIO()
    print_run_table(table, PlainConsole(file=text, width=width))
    return text.getvalue()


def unbroken(text):
    """The names of a table that breaks them into lines, each on one line."""
    lines = text.splitlines()
    first = lines[1].index("prompts") - 2
    names = "".join(line[:first].ljust(first) if line[first:].strip() else line.rstrip() for line in lines)
    return " ".join(names.split())


def test_no_width_loses_a_number_or_a_name(run, untrained):
    table = coupling.run_table({"runs/a-rather-long-name-of-a-run": run, "runs/[red]b": untrained})
    for width in (40, 60, 80, 120):
        text = shown(table, width)
        assert "…" not in text
        whole = text if width in (40, 60, 120) else unbroken(text)
        assert "runs/a-rather-long-name-of-a-run" in whole
        assert "runs/[red]b (random weights)" in whole
        for score in table["score"]:
            assert figures(score) in text
    assert "kind depth, K = 5, p = 2" in shown(table, 120)


def test_what_differs_is_a_column(run, untrained):
    table = coupling.run_table({"a": run, "b": untrained.sel(k=[3])})
    text = shown(table, 140)
    assert " K " in text.splitlines()[1]
    assert "K = " not in text
