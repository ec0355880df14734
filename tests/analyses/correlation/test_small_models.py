"""The table of the small models that comes with the package."""

import pytest

from coupling.analyses.correlation.small_models import BENCHMARKS, TRAINING, family_table
from coupling.errors import CouplingError


def test_the_bundled_table():
    table = family_table()
    assert table.frame.shape == (36, 1 + len(TRAINING) + 3 + len(BENCHMARKS) + len(table.measures))
    assert table.benchmarks == list(BENCHMARKS)
    assert {"diagonal share K=10", "coupling K=10% p=1", "held-out loss"} <= set(table.measures)
    assert table.primary == "excess K=10 p=2"
    assert table.frame.notna().all().all()
    assert (table.controls, table.within) == (("steps", "data_share"), "steps")


def test_a_table_that_does_not_exist(tmp_path):
    with pytest.raises(CouplingError, match=r"cannot read .*none\.csv"):
        family_table(tmp_path / "none.csv")
