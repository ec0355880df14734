"""The numbers of the page are those of the experiments' tables."""

from collections.abc import Iterator

import pandas as pd
import pytest

from coupling.analyses.studies.p3o.results import reward_correlations, ruined
from tests.docs.pages import ROOT, tables_of, text_of

PAGE = "results/p3o.md"
RESULTS = ROOT / "analyses" / "studies" / "results"


@pytest.fixture(scope="module")
def cases():
    return pd.read_csv(RESULTS / "p3o.csv")


@pytest.fixture(scope="module")
def runs():
    return pd.read_csv(RESULTS / "p3o-runs.csv")


def pairs(cases: pd.DataFrame) -> Iterator[tuple]:
    """Each condition with P3O and GRPO side by side: (experiment, condition, p3o, grpo)."""
    rows = cases.set_index(["experiment", "run"])
    for epsilon in (0.2, 0.4, 0.6):
        yield "clip", f"ε {epsilon}", rows.loc[("clip", "p3o")], rows.loc[("clip", f"grpo {epsilon}")]
    for experiment, run in rows.index:
        objective, _, condition = run.partition(", ")
        if condition and objective == "p3o":
            yield experiment, condition, rows.loc[(experiment, run)], rows.loc[(experiment, f"grpo, {condition}")]


def expected_rows(cases: pd.DataFrame) -> Iterator[list[str]]:
    """The cells of the page's table."""
    for experiment, condition, *both in pairs(cases):
        yield [
            experiment,
            condition,
            *(f"{row.held_out:.2f} ± {row.held_out_sd:.2f}" for row in both),
            " / ".join(f"{row.ess:.2f} ({row.ess_min:.2f})" for row in both),
            " / ".join(f"{abs(row.kl):.2f}" for row in both),  # rounding leaves a -0.00
            " / ".join(f"{100 * row.excess:.1f}" for row in both) + "%",
            " / ".join(f"{row.mismatch_early:.2f}" for row in both),
            " / ".join(f"{row.mismatch_to_initial:.2f}" for row in both),
        ]


def test_the_table(cases):
    assert len(cases) == 28
    assert (cases.seeds == 3).all()
    _, (_, *rows) = tables_of(PAGE)
    assert rows == list(expected_rows(cases))


def test_there_is_a_picture_of_each_experiment(cases):
    text = text_of(PAGE)
    for experiment in cases.experiment.unique():
        assert (RESULTS / f"p3o-{experiment}.png").exists()
        assert f"analyses/studies/results/p3o-{experiment}.png)" in text


def test_the_numbers_in_the_text(cases, runs):
    text = text_of(PAGE)
    bad = ruined(runs)
    sound = reward_correlations(runs).set_index(["group", "quantity"]).loc[("sound", "excess")]
    low, high = (runs[bad][name].agg(["min", "max"]) for name in ("excess", "mismatch_early"))
    others = runs[~bad].mismatch_early.agg(["min", "max"])
    kl = cases.set_index("run").kl.round(2)
    old = runs[runs.run == "grpo, 16 old"].kl
    grpo_reused = kl[["grpo 0.2", "grpo 0.4", "grpo 0.6"]]
    for stated in (
        f"{len(runs)} runs of about",
        f"Over the {(~bad).sum()} runs that ended above",
        f"in the {bad.sum()} that ended below",
        f"Spearman {sound.spearman:.2f}, p {sound.p:.2f}",
        f"from {100 * low['min']:.1f} to {100 * low['max']:.1f}%",
        f"it is {high['min']:.2f} to {high['max']:.2f} in those {bad.sum()}",
        f"and {others['min']:.2f} to {others['max']:.2f} in the others",
        f"{kl['p3o, 16 old']:.2f} nats against {kl['grpo, 16 old']:.2f} at 16 updates old",
        f"{kl['p3o, 4 bits']:.2f} against {kl['grpo, 4 bits']:.2f} at 4 bits",
        f"{kl['p3o']:.2f} against {grpo_reused.min():.2f} to {grpo_reused.max():.2f} with reused",
        f"at 16 updates old are {old.min():.2f} to {old.max():.2f})",
        f"({100 * cases.held_out_start.iloc[0]:.0f}% of them right at first)",
        f"Excess was {100 * cases.excess_start.iloc[0]:.1f}% at first",
    ):
        assert stated in text, stated


def test_the_statements_in_the_text(cases, runs):
    bad = ruined(runs)
    assert set(runs[bad].run) == {f"{name}, rate {rate:g}" for name in ("p3o", "grpo") for rate in (2e-3, 5e-3)}
    fresh = runs[runs.experiment == "rate"]
    assert (fresh.ess == 1).all()
    assert (fresh.kl.abs() < 1e-4).all()
    assert runs[bad].held_out_early.max() < runs[~bad].held_out_early.min()  # reward tells them apart as well
    kl = cases.set_index("run").kl
    for condition in ("T 0.6", "T 1.2", "8 bits", "1 old", "4 old"):
        assert kl[f"p3o, {condition}"] > kl[f"grpo, {condition}"] - 0.005
    by_seed = runs.pivot_table(index="run", columns="seed", values="held_out")
    assert (by_seed.loc["p3o, T 1.2"] > by_seed.loc["grpo, T 1.2"]).all()
    for condition in ("4 bits", "16 old"):
        assert (by_seed.loc[f"p3o, {condition}"] < by_seed.loc[f"grpo, {condition}"]).all()
    assert f"ended at {by_seed.loc['p3o, 16 old'].min():.2f}" in text_of(PAGE)
