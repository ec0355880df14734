"""K as a number or a share of the width: how it is read, resolved, recorded and found again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coupling
from coupling.errors import CouplingError
from coupling.shares import find_k, k_names, k_number, labels_of, normalize_k, resolve_ks, rows_at_k, shared_ks
from tests.helpers import make_ids, make_model


def test_k_is_ascending_without_repetitions():
    assert normalize_k(5) == normalize_k(np.int64(5)) == (5,)
    assert normalize_k([10, 5, 10]) == (5, 10)
    assert normalize_k(["10.0%", 7, " 10 %", "2.5%"]) == (7, "2.5%", "10%")
    with pytest.raises(CouplingError, match="at least one number"):
        normalize_k(())
    with pytest.raises(CouplingError, match="K is 0, but must be at least 1"):
        normalize_k([3, 0])


@pytest.mark.parametrize("wrong", ["10", "ten%", "-5%", 2.5, True, None])
def test_what_is_neither_a_number_nor_a_share_is_refused(wrong):
    with pytest.raises(CouplingError, match="must be a whole number, or a share"):
        normalize_k(wrong)


@pytest.mark.parametrize("wrong", ["0%", "100.1%"])
def test_a_share_is_above_0_and_at_most_1(wrong):
    with pytest.raises(CouplingError, match="above 0% and at most 100%"):
        normalize_k(wrong)


@given(st.integers(10, 20_000))
def test_ten_percent_is_a_tenth_rounded_down(width):
    assert k_number("10%", width) == width // 10
    assert k_number("100%", width) == width


def test_equal_numbers_become_one():
    ks = resolve_ks(("10%", 10, 5), 105)
    assert (ks.numbers, ks.labels) == ((5, 10), ("5", "10%,10"))
    assert (ks.largest, ks.has_shares) == (10, True)
    assert ks.each_label() == [(0, 5), (1, "10%"), (1, 10)]
    with pytest.raises(CouplingError, match="less than one"):
        resolve_ks(("10%",), 9)
    with pytest.raises(CouplingError, match=r"K is 33, but .* d = 32"):
        resolve_ks((33,), 32)


@pytest.fixture(scope="module")
def shared():
    """d = 32: 25% is 8."""
    return coupling.measure(make_model("llama"), make_ids(), k=(3, "25%"))


def test_a_run_knows_which_share_a_k_is(shared):
    assert shared.k.values.tolist() == [3, 8]
    assert labels_of(shared) == [(3,), ("25%",)]
    assert k_names(shared) == ["3", "8 = 25%"]
    assert find_k(shared, "25%") == find_k(shared, 8) == find_k(shared) == 8
    plain = coupling.measure(make_model("llama"), make_ids(), k=(3, 8))
    assert "k_label" not in plain.coords  # runs of numbers alone are as they always were
    assert find_k(plain, "25%") == 8
    assert coupling.score(shared, "25%") == coupling.score(plain, 8)
    assert coupling.compare_runs(shared, plain)["identical"]
    with pytest.raises(CouplingError, match=r"K = 10% \(3 of d = 32\), but"):
        find_k(shared.sel(k=[8]), "10%")
    with pytest.raises(CouplingError, match="no p = 3"):
        find_k(shared, 3, 3)


def test_a_saved_run_keeps_it(shared, tmp_path):
    from coupling.run_folder import RunFolder

    RunFolder(tmp_path / "run", {}).finish(shared, {})
    assert k_names(coupling.open_run(tmp_path / "run")) == ["3", "8 = 25%"]


def test_runs_of_other_widths_share_a_share(shared):
    other = shared.assign_coords(k=[4, 9])
    assert shared_ks([shared, other]) == ["25%"]
    assert shared_ks([shared, shared]) == [3, 8]
    with pytest.raises(CouplingError, match=r"share no K: they were measured at \[3\], \[8 = 25%\]"):
        shared_ks([shared.sel(k=[3]), shared.sel(k=[8])])
    without = shared.drop_vars("k_label")
    del without.attrs["width"]
    with pytest.raises(CouplingError, match="does not record the model's width"):
        find_k(without, "25%")


def test_rows_of_a_table():
    table = pd.DataFrame({"k": [10, 5, 6], "k_label": ["10", "10%", "10%"], "score": [1, 2, 3]})
    assert rows_at_k(table)[0]["score"].tolist() == [1]
    assert rows_at_k(table, "10%")[0]["score"].tolist() == [2, 3]
    assert rows_at_k(table, 6)[0]["score"].tolist() == [3]
    assert rows_at_k(table[["score"]])[1] == ""
    with pytest.raises(CouplingError, match="no rows with K = 7, but with 10%, 10"):
        rows_at_k(table, 7)
    with pytest.raises(CouplingError, match="no column k"):
        rows_at_k(table[["score"]], 7)
