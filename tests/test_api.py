"""The public names: all reachable after ``import coupling``, none imported before it is used."""

import inspect
import subprocess
import sys

import pytest

import coupling


def test_every_public_name_exists():
    for name in coupling.__all__:
        assert getattr(coupling, name) is not None
    assert set(coupling.__all__) <= set(dir(coupling))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        coupling.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "expression",
    ["coupling.figures.heatmap", "coupling.rl.p3o_loss", "coupling.analyses.correlation", "coupling.figures.report"],
)
def test_the_parts_are_reachable_after_one_import(expression):
    assert subprocess.run([sys.executable, "-c", f"import coupling; {expression}"], check=False).returncode == 0


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, coupling; assert not {'torch', 'numpy', 'xarray', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("function", [coupling.analyze, coupling.measure, coupling.record, coupling.score])
def test_keywords_are_explicit(function):
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


def test_former_keywords_still_work(measured):
    from tests.helpers import make_ids, make_model

    with pytest.warns(FutureWarning, match="token is now called tokens"):
        run = coupling.measure(make_model("llama"), make_ids(0, 5), k=2, token=3)
    assert run.measured_token.item() == 3
    with pytest.warns(FutureWarning, match="blocks is now called block_list"):
        coupling.record(make_model("llama"), {"input_ids": make_ids()}, blocks="layers")


def test_the_score_takes_the_largest_k_by_default(measured):
    assert coupling.score(measured) == coupling.score(measured, k=3)
    assert coupling.chance_score(measured) == coupling.chance_score(measured, k=3)
    with pytest.raises(coupling.CouplingError, match=r"not measured at K = 7, but at K in \[2, 3\]"):
        coupling.score(measured, k=7)
