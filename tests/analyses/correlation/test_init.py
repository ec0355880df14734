"""``coupling.analyses.correlation`` after ``import coupling``, without the packages that it does not need."""

import subprocess
import sys

import pytest

import coupling
from coupling.analyses.correlation.correlate import correlate_runs
from coupling.analyses.correlation.scatter import scatter_of_runs


def test_public_functions_are_reachable():
    assert coupling.analyses.correlation.correlate_runs is correlate_runs
    assert coupling.analyses.correlation.scatter_of_runs is scatter_of_runs
    assert set(coupling.analyses.correlation.__all__) <= set(dir(coupling.analyses.correlation))
    for module in (coupling.analyses, coupling.analyses.correlation):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


def test_they_are_imported_when_they_are_first_used():
    code = (
        "import sys; sys.modules['statsmodels'] = None\n"
        "import coupling\n"
        "correlation = coupling.analyses.correlation\n"
        "assert not {'pandas', 'torch', 'scipy'} & set(sys.modules)\n"
        "correlation.read_scores, correlation.scatter_of_runs\n"
        "try: correlation.correlate_runs\n"
        "except coupling.CouplingError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "coupling correlate needs the statsmodels package, which is not installed: "
        "pip install 'block-coupling[statistics]'\n"
    )
