"""The tables of pictures: how they are checked, read and joined."""

import numpy as np
import pandas as pd
import pytest

from coupling import figures
from coupling.choices import TABLE_PICTURES
from coupling.errors import CouplingError
from coupling.figures.columns import SCATTER, TABLES, read_table, read_tables


def test_every_picture_of_a_table_has_columns():
    assert tuple(TABLES) == TABLE_PICTURES


@pytest.mark.parametrize(
    ("picture", "text", "message"),
    [
        ("rl", "step,ess\n1,2\n", "lacks the column reward"),
        ("dynamics", "model,step,score\na,zero,1\n", "column step of the table contains 'zero': not a number"),
        ("scatter", "model,score,benchmark\n", "contains no rows"),
        ("rl", "", "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be_read(picture, text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(CouplingError, match=message) as caught:
        read_table(path, picture)
    assert str(caught.value).startswith(str(path))


def test_numbers_are_finite_or_missing_and_names_are_texts():
    checked = SCATTER.check(
        pd.DataFrame({"model": [7, None], "score": ["1.5", "inf"], "benchmark": [1, 2], "note": ["x", "y"]}), "scatter"
    )
    assert checked["model"].tolist()[1] == ""
    assert checked["score"].iloc[0] == 1.5
    assert np.isnan(checked["score"].iloc[1])
    assert checked["note"].tolist() == ["x", "y"]  # not a column of the picture: left as it is


def test_headers_may_have_blanks(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("step, reward , run\n0, 1, first\n1, 2, first\n")
    table = read_table(path, "rl")
    assert table.columns.tolist() == ["step", "reward", "run"]
    assert table["run"].tolist() == ["first"] * 2


def test_a_folder_is_read_only_if_it_is_a_run_of_rl(tmp_path):
    (tmp_path / "table.csv").write_text("model,step,reward,score\na,0,0.1,1\n")
    assert read_table(tmp_path, "rl")["reward"].tolist() == [0.1]
    with pytest.raises(CouplingError, match=r"is a folder; the picture dynamics is drawn from a \.csv table"):
        read_table(tmp_path, "dynamics")
    with pytest.raises(CouplingError, match=r"there is no file .*missing\.csv"):
        read_table(tmp_path / "missing.csv", "rl")
    (tmp_path / "run").mkdir()
    with pytest.raises(CouplingError, match=r"drawn from a \.csv table or the folder of a `coupling rl` run$"):
        read_table(tmp_path / "run", "rl")


def test_a_message_lists_ten_columns_at_most():
    table = pd.DataFrame({f"c{index}": [1] for index in range(12)})
    with pytest.raises(CouplingError, match=r"and has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more$"):
        SCATTER.check(table, "scatter")
    with pytest.raises(CouplingError, match=r"and has c0, c1$"):
        SCATTER.check(table[["c0", "c1"]], "scatter")


def test_several_tables_of_rl_are_one_picture(tmp_path):
    for folder, run in (("first", "p3o"), ("second", "grpo"), ("third", "p3o")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.csv").write_text(f"run,step,reward\n{run},1,0.1\n{run},2,0.2\n")
    (tmp_path / "plain.csv").write_text("step,reward\n1,0.5\n")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert read_tables([first, second / "table.csv"], "rl").run.tolist() == ["p3o"] * 2 + ["grpo"] * 2
    assert set(read_tables([first, third], "rl").run) == {"p3o, first", "p3o, third"}
    assert set(read_tables([second, tmp_path / "plain.csv"], "rl").run) == {"grpo", tmp_path.name}
    assert len(figures.rl(read_tables([first, third], "rl")).axes[0].lines) == 2
