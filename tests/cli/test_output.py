"""Stdout contains the result alone."""

import io
import json
import subprocess
import sys
import warnings

import pytest
from rich.table import Table
from rich.text import Text

from coupling.cli.output import PlainConsole, print_json, warning_lines
from coupling.models.chat import PromptWarning


def test_what_is_printed_inside_goes_to_stderr():
    code = (
        "import os, subprocess, sys\n"
        "from coupling.cli.output import result_alone\n"
        "with result_alone():\n"
        "    print('python')\n"
        "    os.write(1, b'descriptor\\n')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"child\")'])\n"
        "print('result')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert set(done.stderr.split()) == {"python", "descriptor", "child"}


def test_json_refuses_nan(capsys):
    print_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        print_json({"a": float("nan")})


def test_the_console_prints_text_as_text():
    stream = io.StringIO()
    screen = PlainConsole(file=stream, width=80, force_terminal=True, color_system="standard")
    table = Table("[b]name\x07", "two\u202e")
    table.add_row("[/] \x1b[31m", Text("\x9b31m"))
    for what in ("[red]x[/]\x1b]0;title\x07 :smile:", Text("y\x1b[2J"), table):
        screen.print(what)
    screen.print("styled", style="red")
    out = stream.getvalue()
    assert "[red]x[/]\\x1b]0;title\\x07 :smile:" in out
    assert "[b]name" in out
    assert out.count("\x1b[31mstyled\x1b[0m") == 1  # rich's own codes stay
    allowed = out.replace("\x1b[31mstyled\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not any(character in allowed for character in "\x1b\x07\x9b\u202e")


def test_only_warnings_of_this_package_are_lines(capsys):
    with warning_lines():
        warnings.warn("two BOS", PromptWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: two BOS\n"
    with warning_lines(), pytest.warns(FutureWarning, match="other"):
        warnings.warn("other", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
