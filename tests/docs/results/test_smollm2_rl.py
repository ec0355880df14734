"""The page says how far the study got, and its table follows from the files of the runs."""

import re

import pandas as pd
import pytest

from coupling.analyses.studies.smollm2_rl.design import (
    EVERY,
    EXAMPLES,
    HELD_OUT,
    LORA,
    SAMPLED_AT,
    SEEDS,
    STEPS,
    TRAINER,
    planned,
)
from coupling.analyses.studies.smollm2_rl.results import by_run, read_curves
from coupling.analyses.studies.smollm2_rl.study import RESULTS
from tests.docs.pages import tables_of, text_of

PAGE = "results/smollm2-rl.md"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return by_run(read_curves(planned(), RESULTS))


def cells(row) -> list[str]:
    """A row of the page's table."""
    return [
        row.objective,
        str(row.seed),
        str(row.updates),
        f"{row.start:.3f}",
        f"{row.end:.3f}",
        f"{row.area:.3f}",
        f"{row.ess:.2f}",
        f"{row.kl:.2f}",
        f"{row.entropy:.2f}",
        f"{row.seconds / 60:.1f}",
    ]


def test_how_far_it_got(runs):
    found = re.search(r"(\d+) of the (\d+) planned updates are made", text_of(PAGE))
    assert found is not None
    assert (int(found[1]), int(found[2])) == (runs["updates"].sum(), sum(plan.steps for plan in planned()))
    assert {path.name for path in RESULTS.glob("*.json")} <= {plan.file for plan in planned()}


def test_the_table_follows_from_the_files(runs):
    _, (_, *rows) = tables_of(PAGE)
    assert rows == [cells(row) for row in runs.itertuples()]
    committed = pd.read_csv(RESULTS.parent / "smollm2-rl.csv")
    pd.testing.assert_frame_equal(committed, runs.round(4), check_dtype=False)


def test_the_design_on_the_page_is_that_of_the_code():
    text = text_of(PAGE)
    assert f"the prompt is `{EXAMPLES.strip()}`" in text
    assert "at most four tokens" in text
    assert TRAINER["max_completion_length"] == 4
    assert f"LoRA of rank {LORA['r']} on the query and value projections" in text
    assert LORA["target_modules"] == ["q_proj", "v_proj"]
    assert f"sampled at temperature {SAMPLED_AT}, with log-probabilities at 1" in text
    assert f"{TRAINER['per_device_train_batch_size']} completions, four of each of eight prompts" in text
    assert (TRAINER["num_generations"], EVERY, TRAINER["learning_rate"]) == (4, 4, 5e-4)
    assert f"{STEPS} updates, which are six batches of rollouts" in text
    assert f"averaged over {HELD_OUT} held-out prompts" in text
    assert f"{SEEDS[0]} and {SEEDS[1]}" in text


def test_what_the_page_says_of_the_objectives(runs):
    text = text_of(PAGE)
    assert set(runs["ended"]) == {"finished"}
    assert f"all four runs are finished, in {runs['seconds'].sum() / 60:.0f} minutes of processor time" in text
    assert {f"{chance:.2f}" for chance in runs["start"]} == {"0.22"}
    assert runs["end"].between(0.45, 0.51).all()
    p3o, dapo = (runs[runs["objective"] == name].sort_values("seed") for name in ("P3O, batch", "DAPO 0.2"))
    assert (p3o["end"].to_numpy() > dapo["end"].to_numpy()).tolist() == [True, False]
    assert (p3o["area"].to_numpy() > dapo["area"].to_numpy()).tolist() == [False, True]
    low, high = (sorted(part["kl"]) for part in (p3o, dapo))
    assert f"kl is {low[0]:.2f} and {low[1]:.2f} under P3O" in text
    assert f"{high[0]:.2f} and {high[1]:.2f} under DAPO" in text
    assert f"(ess from {runs['ess'].min():.2f} to {runs['ess'].max():.2f})" in text
