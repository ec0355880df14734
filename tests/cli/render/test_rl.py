"""The printed table of an RL run, and its JSON."""

import pytest
from rich.console import Console

from coupling.cli.render.rl import print_rows, summarize_rows


def test_a_step_on_rollouts_used_before_shows_their_reward(capsys):
    rows = [{"seed": 0, "step": step} | ({"reward": step / 10} if step % 2 else {}) for step in range(1, 7)]
    (summary,) = summarize_rows(rows)["seeds"]
    assert [row["reward"] for row in summary["rows"]] == [0.1, None, 0.3, None, 0.5, None]  # as in the table
    assert (summary["reward_first"], summary["reward_last"]) == (0.1, 0.5)
    print_rows(rows, Console())
    assert "4    0.300" in capsys.readouterr().out


def test_empty_completions_are_reported(capsys):
    rows = [
        {"seed": 0, "step": step, "reward": 1.0, "empty_completions": share}
        for step, share in enumerate((0.25, 0.0, 0.5))
    ]
    print_rows(rows, Console())
    assert "empty completions in 2 steps, at most 50.0% of the completions of a step" in capsys.readouterr().out
    print_rows([row | {"empty_completions": 0.0} for row in rows], Console())
    assert "empty" not in capsys.readouterr().out


def test_steps_with_a_score_are_printed_where_there_are_three(capsys):
    rows = [
        {"seed": 0, "step": step, "reward": 0.5} | ({"score": 0.1} if step in (0, 4, 8) else {}) for step in range(10)
    ]
    print_rows(rows, Console())
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    assert lines == ["0", "4", "8"]


@pytest.mark.parametrize("rewards", [True, False])
def test_several_seeds_have_a_column_and_a_line_each(capsys, rewards):
    rows = [{"seed": seed, "step": step, "reward": 0.5} for seed in (3, 4) for step in (1, 2)]
    print_rows(rows, Console(), rewards=rewards)
    printed = capsys.readouterr().out
    assert "seed" in printed
    assert ("seed 4: reward 0.500 over the first tenth of the steps, 0.500 over the last" in printed) == rewards


def test_numbers_that_are_not_finite_are_left_out():
    (summary,) = summarize_rows([{"seed": 0, "step": 1, "loss": float("nan"), "reward": float("inf")}])["seeds"]
    assert summary["reward_first"] is None
    assert summary["rows"][0]["loss"] is None
