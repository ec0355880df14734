"""The table of the family, gathered from its folders."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.small_models import BENCHMARKS, TABLE, family_table
from coupling.analyses.studies.family_members import MEMBER, members
from coupling.analyses.studies.family_results import RESULT, collect, gather
from coupling.choices import BASELINES
from coupling.errors import CouplingError
from coupling.files import load_json, to_json

FAMILY = [member for member in members() if member.shape in ("L2-d48", "L4-d32")]
NAMES = [member.name for member in FAMILY]


@pytest.fixture
def finished(tmp_path, make_run):
    """Folders of finished members: made-up scores, and runs whose coupling differs."""
    for index, member in enumerate(FAMILY):
        folder = tmp_path / member.name
        folder.mkdir()
        (folder / "run").symlink_to(Path(make_run(member.name, 0.7 + 0.04 * index)))
        record = {
            "member": asdict(member),
            "scores": {name: float(index + number) for number, name in enumerate(BENCHMARKS)},
            "seconds": {"train": 1.5, "score": 2.0, "measure": 0.25},
        }
        (folder / MEMBER).write_bytes(to_json(record))
    return tmp_path


def test_the_table_and_the_correlation(finished, monkeypatch):
    monkeypatch.setitem(correlate.__kwdefaults__, "resamples", 99)
    result = collect(NAMES, finished)
    table = family_table(finished / TABLE)
    assert table.frame.index.to_list() == NAMES
    assert table.benchmarks == list(BENCHMARKS)
    assert table.frame["family"].to_list() == [member.shape for member in FAMILY]
    assert table.frame["steps"].to_list() == [member.steps for member in FAMILY]
    assert (table.frame["seconds"] == 3.75).all()
    run = coupling.open_run(finished / NAMES[2] / "run")
    assert table.frame.loc[NAMES[2], "coupling K=3 p=1"] == pytest.approx(coupling.score(run, 3, 1), rel=1e-5)
    assert load_json(finished / RESULT)["models"] == result["models"] == len(FAMILY)


def test_the_columns_are_those_of_the_bundled_table(finished):
    bundled = pd.read_csv(Path(coupling.__file__).parent / "data" / TABLE)
    own = [name for name in gather(NAMES, finished) if "K=" not in name]
    labels = [baseline.label for baseline in BASELINES]  # the runs here were measured without
    assert own == [name for name in bundled.columns if "K=" not in name and name not in labels][1:]


def test_a_member_that_is_not_finished(finished):
    (finished / NAMES[1] / MEMBER).unlink()
    with pytest.raises(CouplingError, match=f"contains no finished member {NAMES[1]}; run the command again"):
        collect(NAMES, finished)
    assert not (finished / TABLE).exists()
