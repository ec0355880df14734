"""Many runs as one table."""

import pytest

import coupling
from coupling.errors import CouplingError
from coupling.tables import COLUMNS


def test_rows_are_the_numbers_of_the_runs(run, untrained):
    table = coupling.run_table({"a": run, "b": untrained}, k=3, norm=1)
    assert list(table.columns) == list(COLUMNS)
    assert table["score"].tolist() == pytest.approx([coupling.score(one, 3, 1) for one in (run, untrained)])
    chance = [coupling.chance_score(one, 3, 1) for one in (run, untrained)]
    assert table["chance"].tolist() == pytest.approx(chance)
    assert table["weights"].tolist() == ["trained", "random"]
    assert (table["excess_se"] > 0).all()


def test_the_table_is_sorted_from_the_largest_number_and_by_names(run, untrained):
    runs = {"b": untrained, "a": run}
    assert coupling.run_table(runs)["run"].tolist() == ["b", "a"]
    assert coupling.run_table(runs, sort="excess")["run"].tolist() == ["a", "b"]
    assert coupling.run_table(runs, sort="run")["run"].tolist() == ["a", "b"]
    with pytest.raises(CouplingError, match="`sort` is 'speed', but must be a column"):
        coupling.run_table(runs, sort="speed")


def test_one_prompt_has_no_standard_error(run):
    (error,) = coupling.run_table({"a": run.isel(prompt=[0])})["excess_se"]
    assert error is None or error != error
