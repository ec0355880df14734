"""Stdout contains the result alone."""

import json
import subprocess
import sys

import pytest

from coupling.cli.output import print_json


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
