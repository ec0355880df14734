"""Several runs of ``coupling rl`` as one table."""

import pytest

from coupling.analyses.rl.run_table import COLUMNS, rl_run_table
from coupling.analyses.rl.saved_run import read_rl_run
from coupling.errors import CouplingError
from tests.saved_rl import write_rl_run


def test_one_row_for_each_run(tmp_path):
    first = read_rl_run(write_rl_run(tmp_path / "a"))
    folder = write_rl_run(tmp_path / "b", finished=False)
    (folder / "table.csv").write_text("run,seed,step,reward\np3o,0,1,0.9\n")
    table = rl_run_table([first, read_rl_run(folder)], sort="reward")
    assert tuple(table.columns) == COLUMNS
    assert [name.rsplit("/", 1)[-1] for name in table["run"]] == ["b", "a"]
    row = table.iloc[1]
    assert (row["seeds"], row["steps"], row["state"]) == (2, 4, "finished")
    assert (row["reward_first"], row["reward_last"]) == pytest.approx((0.105, 0.405))
    assert (row["excess_first"], row["excess_last"]) == pytest.approx((0.0805, 0.1205))
    assert row["ess_mean"] == pytest.approx(0.975)
    assert table["excess_last"].isna().tolist() == [True, False]
    with pytest.raises(CouplingError, match="must be a column: run, objective"):
        rl_run_table([first], sort="rewards")
