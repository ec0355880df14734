"""The results of P3O's experiments on tables made by hand."""

import pandas as pd
import pytest

from coupling.analyses.studies.p3o.results import by_case, by_run, reward_correlations, ruined

MEASURED = (0, 6, 12)


def make_steps(seed, held_out, excess, name="p3o"):
    """Steps 0 to 12 of a run; coupling and the policy's reward are measured at steps 0, 6 and 12."""
    rows = [
        {
            "experiment": "rate",
            "run": name,
            "seed": seed,
            "step": step,
            "reward": step / 100,
            "ess": 1 - step / 24,
            "kl": 0.1,
            "score": None,
            "excess": None,
            "mismatch_to_initial": None,
            "held_out_reward": None,
        }
        for step in range(13)
    ]
    rows[0] |= {"reward": None, "ess": None, "kl": None}
    for index, step in enumerate(MEASURED):
        rows[step] |= {"score": 0.1, "excess": excess[index], "mismatch_to_initial": index / 4}
        rows[step]["held_out_reward"] = held_out[index]
    return rows


def test_rows_per_run_and_per_case():
    sound = make_steps(0, (0.4, 0.5, 0.7), (0.07, 0.08, 0.09))
    bad = make_steps(1, (0.4, 0.3, 0.1), (0.07, 0.12, 0.15))
    runs = by_run(pd.DataFrame([*sound, *bad]).infer_objects())
    first = runs.iloc[0]
    assert (first.held_out_start, first.held_out_early) == (0.4, 0.5)
    assert first.held_out == pytest.approx(0.6)  # of steps 3 to 12, those at 6 and 12
    assert first.reward_start == pytest.approx(0.02)
    assert first.reward == pytest.approx(0.075)
    assert (first.ess, first.ess_min) == (pytest.approx(1 - 6.5 / 24), 0.5)
    assert (first.excess_start, first.excess_early, first.excess) == (0.07, 0.08, 0.09)
    assert (first.mismatch_early, first.mismatch_to_initial) == (0.25, 0.5)
    assert ruined(runs).tolist() == [False, True]
    (case,) = by_case(runs).to_dict("records")
    assert (case["seeds"], case["held_out"]) == (2, pytest.approx(0.4))
    assert case["held_out_sd"] == pytest.approx(0.4 / 2**0.5)


def test_a_run_without_a_reward_at_its_end_counts_as_ruined():
    runs = pd.DataFrame({"held_out": [0.5, float("nan")], "held_out_start": [0.4, 0.4]})
    assert ruined(runs).tolist() == [False, True]


def test_correlations_with_reward_are_given_for_all_runs_and_for_the_sound_ones():
    excess = {0.5: 0.10, 0.6: 0.11, 0.7: 0.12, 0.05: 0.30}
    steps = [
        row
        for seed, (held_out, value) in enumerate(excess.items())
        for row in make_steps(seed, (0.4, held_out, held_out), (0.07, 0.07 + seed / 100, value))
    ]
    runs = by_run(pd.DataFrame(steps).infer_objects())
    table = reward_correlations(runs).set_index(["group", "quantity"])
    assert table.loc[("all", "excess"), "runs"] == 4
    assert table.loc[("all", "excess"), "spearman"] == pytest.approx(-0.2)  # ranks 2 3 4 1 and 1 2 3 4
    assert table.loc[("sound", "excess"), "spearman"] == pytest.approx(1)
    assert table.loc[("sound", "excess"), "runs"] == 3
    assert table.loc[("all", "kl"), ["spearman", "p"]].isna().all()  # the same in all runs
