"""Which modules of rewards are imported, and that no code of the others runs."""

import sys
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.reward_modules import import_reward_module

MARK = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder of a configuration, and another one, in which the command is called."""
    for name in ("own", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "own", tmp_path / "here"


def module(folder: Path, name: str, text: str = MARK) -> Path:
    (folder / f"{name}.py").write_text(text)
    return folder / f"{name}.ran"


def test_a_module_beside_the_configuration(folders):
    ran = module(folders[0], "beside_one")
    path = list(sys.path)
    imported = import_reward_module("beside_one", "beside_one:f", folder=folders[0])
    assert imported.__name__ == "beside_one"
    assert ran.exists()
    assert sys.path == path


def test_a_module_elsewhere_has_to_be_trusted_before_its_code_runs(folders):
    ran = module(folders[1], "elsewhere_one")
    with pytest.raises(CouplingError, match=r"elsewhere_one\.py, which is neither .*`trust_rewards=True`"):
        import_reward_module("elsewhere_one", "elsewhere_one:f", folder=folders[0])
    assert not ran.exists()
    import_reward_module("elsewhere_one", "elsewhere_one:f", folder=folders[0], trust=True)
    assert ran.exists()


def test_a_package_elsewhere_is_not_run_to_look_into_it(folders):
    (folders[1] / "package_one").mkdir()
    ran = module(folders[1] / "package_one", "__init__")
    module(folders[1] / "package_one", "scores", "")
    with pytest.raises(CouplingError, match="package_one, which is neither"):
        import_reward_module("package_one.scores", "package_one.scores:f", folder=folders[0])
    assert not ran.exists()


def test_a_place_that_python_searches_is_not_trusted_for_that(folders, tmp_path, monkeypatch):
    (tmp_path / "searched").mkdir()
    ran = module(tmp_path / "searched", "searched_one")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "searched"), *sys.path])
    with pytest.raises(CouplingError, match="which is neither"):
        import_reward_module("searched_one", "searched_one:f", folder=folders[0])
    assert not ran.exists()


@pytest.mark.parametrize("name", ["statistics", "trl.rewards", "numpy"])
def test_installed_packages_are_trusted(folders, name, monkeypatch):
    monkeypatch.delitem(sys.modules, "statistics", raising=False)
    assert import_reward_module(name, f"{name}:f", folder=folders[0]).__name__ == name


def test_a_module_that_ends_the_program_is_an_error(folders):
    module(folders[0], "ending_one", "raise SystemExit(0)\n")
    with pytest.raises(CouplingError, match=r"cannot import the module ending_one .*SystemExit: 0"):
        import_reward_module("ending_one", "ending_one:f", folder=folders[0])
    with pytest.raises(CouplingError, match="ModuleNotFoundError"):
        import_reward_module("no_such_module_at_all", "no_such_module_at_all:f", folder=folders[0])
