"""The callback's history as a table."""

import coupling
from coupling.training import CouplingCallback, history_table
from tests.training.test_callback import PROBES, plain_trainer


def test_the_history_and_the_log_give_the_same_table_and_it_can_be_drawn(tmp_path):
    trainer = plain_trainer(tmp_path, steps=2)
    callback = CouplingCallback(PROBES, every=1, k=(2, 4)).attach(trainer)
    trainer.train()
    table = history_table(callback.history, "small")
    assert table.equals(history_table(trainer.state.log_history, "small"))
    assert table[["step", "k", "norm"]].values.tolist() == [
        [step, k, norm] for step in (0, 1, 2) for k in (2, 4) for norm in (1, 2)
    ]
    row = table.query("step == 2 and k == 4 and norm == 1").iloc[0]
    last = callback.history[-1]
    for column in ("score", "chance", "excess"):
        assert row[column] == last[f"coupling/{column}_k4_p1"]
    assert row["residual_growth"] == last["coupling/residual_growth"]
    assert row["diagonal_share"] == last["coupling/diagonal_share_k4"]
    assert row["k_label"] == "4"
    assert len(coupling.figures.dynamics(table).axes) == 7


def test_a_share_of_the_width_has_its_number_and_its_name():
    measured = {"step": 0, "coupling/k10pct": 6.0, "coupling/score_k10pct_p2": 0.1, "coupling/score_k4_p2": 0.2}
    rows = history_table([measured])[["k", "k_label", "norm", "score"]].values.tolist()
    assert rows == [[4, "4", 2, 0.2], [6, "10%", 2, 0.1]]


def test_a_log_without_coupling_gives_an_empty_table():
    assert history_table([{"step": 1, "loss": 2.0}]).empty
