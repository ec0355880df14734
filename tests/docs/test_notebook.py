"""The notebook runs from top to bottom, and is stored without outputs."""

import pytest

from tests.docs.pages import ROOT

nbformat = pytest.importorskip("nbformat", reason="the notebook is not run against the lowest versions")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = ROOT / "examples" / "first-steps.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_no_outputs_are_stored(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_it_runs(notebook, tmp_path):
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "excess 4.5%" in text
    assert "coupling 0.136" in text
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
