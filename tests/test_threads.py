"""The active waiting of threads is bounded before torch is loaded, unless the user has chosen it."""

import os
import subprocess
import sys

import pytest

from coupling.threads import SPIN_COUNT, VARIABLE, bound_spinning


def test_it_is_set_where_nothing_was_chosen():
    environment: dict[str, str] = {}
    assert bound_spinning(environment)
    assert environment == {VARIABLE: str(SPIN_COUNT)}


@pytest.mark.parametrize("choice", [{VARIABLE: "7"}, {"OMP_WAIT_POLICY": "PASSIVE"}])
def test_the_choice_of_the_user_stays(choice):
    environment = dict(choice)
    assert not bound_spinning(environment)
    assert environment == choice


def test_nothing_is_set_once_torch_is_loaded():
    import torch  # noqa: F401

    before = dict(os.environ)
    assert not bound_spinning()
    assert dict(os.environ) == before


PROBE = """
import sys, os
from coupling.cli import app
app.app = lambda **_: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
app.main()
"""


@pytest.mark.parametrize(("given", "expected"), [({}, str(SPIN_COUNT)), ({VARIABLE: "7"}, "7")])
def test_the_command_line_sets_it_before_torch_is_loaded(given, expected):
    environment = {key: value for key, value in os.environ.items() if key not in (VARIABLE, "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected, "False"]
