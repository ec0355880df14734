"""What ``coupling.rl`` exports, that it imports it lazily, and what it says if a package is missing."""

import json
import subprocess
import sys

import pytest

import coupling
from coupling.errors import CouplingError

PROBE = """
import json, sys
import coupling
after_import = "torch" in sys.modules
coupling.rl.p3o_loss, coupling.rl.CouplingCallback
print(json.dumps({"torch after import": after_import, "trl after use": "trl" in sys.modules}))
"""


def test_every_public_name_can_be_used_after_import_coupling():
    for name in coupling.rl.__all__:
        assert getattr(coupling.rl, name).__name__ == name
        assert name in dir(coupling.rl)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = coupling.rl.nothing


def test_the_objective_and_the_callback_do_not_need_trl():
    done = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == {"torch after import": False, "trl after use": False}


@pytest.mark.parametrize("name", ["P3OTrainer", "P3OConfig"])
def test_a_missing_package_is_one_line_that_names_the_extra(name, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == "trl"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "trl", None)  # an import of it raises ModuleNotFoundError
    for module in ("config", "trainer"):
        monkeypatch.delitem(sys.modules, f"coupling.rl.{module}", raising=False)
    expected = rf"coupling.rl.{name} needs the trl package, which is not installed: pip install 'block-coupling\[rl\]'"
    with pytest.raises(CouplingError, match=expected):
        getattr(coupling.rl, name)
