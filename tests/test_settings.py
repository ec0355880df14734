"""Settings are normalized and checked when they are made."""

import json
import subprocess
import sys

import numpy as np
import pytest

from coupling.errors import CouplingError
from coupling.settings import Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 2.5}, "K is 2.5, but must be a whole number"),
        ({"k": "10"}, "K is '10', but must be a whole number"),
        ({"kind": "self", "block_pairs": (1, 2)}, "must be pairs of blocks"),
    ],
)
def test_values_of_the_wrong_type_are_refused(options, message):
    with pytest.raises(CouplingError, match=message):
        Settings(**options)


def test_settings_are_json():
    settings = Settings(k=(np.int64(3),), tokens=[np.int64(1), "last"], kind="self", block_pairs=[[0, 1]])
    assert json.loads(json.dumps(settings.as_dict()))["tokens"] == [1, "last"]
    assert settings == Settings(k=(3,), tokens=(1, "last"), kind="self", block_pairs=((0, 1),))


def test_settings_need_no_torch():
    code = "import sys, coupling.settings, coupling.plan, coupling.choices; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
