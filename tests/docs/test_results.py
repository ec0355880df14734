"""The numbers that the README reports of correlations are those that its commands print."""

import re
from pathlib import Path

import pandas as pd
import pytest

from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.published import correlate_published
from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.p3o.results import goes_with_reward, ruined

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading."""
    section = README.split(f"### {heading}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= {"-"}]


def test_the_published_points():
    header, cells = rows_of("The published points")
    (one,) = correlate_published(resamples=19)["results"]
    r2 = {row["name"]: f"{row['r2']:.3f}" for row in one["predictors"]}
    assert dict(zip(header[1:], cells[1:], strict=True)) == {name: r2[name] for name in header[1:]}
    joint = one["joint"][0]
    own, size = joint["terms"]
    text = re.sub(r"\s+", " ", README)
    for stated in (
        f"reach {joint['r2']:.3f}", f"p = {own['p']:.3f} beyond size", f"p = {size['p']:.3f} beyond coupling",
        f"(variance inflation {own['vif']:.1f})", f"falls to {one['leave_one_family_out']['lowest']:.3f}",
        f"margin is {float(r2['coupling']) - float(r2['log parameters']):.3f}",
    ):  # fmt: skip
        assert stated in text, stated


def test_the_family():
    result = correlate(family_table(), benchmarks=["exact match", "bits per byte"], resamples=19)
    exact, bits = result["results"]
    pearson = {}
    for row in result["measures"]:
        pearson[row["benchmark"], row["measure"]] = row["pearson"]
    for one in (exact, bits):
        pearson |= {(one["benchmark"], row["name"]): row["pearson"] for row in one["predictors"]}
    header, *rows = rows_of("Models made here")
    assert header[1:] == ["exact match", "bits per byte"]
    within = {f"{row['value']:g}": row for row in exact["within"]}, {f"{row['value']:g}": row for row in bits["within"]}
    checked = 0
    for name, *cells in rows:
        if name == "steps":
            continue
        for benchmark, apart, cell in zip(header[1:], within, cells, strict=True):
            if name in apart:
                assert cell == f"{apart[name]['pearson']:+.2f} ({apart[name]['pearson_p']:.2f})"
            else:
                assert cell == f"{pearson[benchmark, name]:+.2f}"
            checked += 1
    assert checked >= 20
    text = re.sub(r"\s+", " ", README)
    assert f"It took {family_table().frame['seconds'].sum() / 2 / 60:.0f} minutes on 2 shared cores" in text
    for one in (exact, bits):
        term = one["joint"][1]["terms"][0]
        assert f"{term['partial']:+.2f} with {one['benchmark']} (p = {term['p']:.2f})" in text


@pytest.mark.parametrize("command", ["--published", "--family"])
def test_the_commands_are_named(command):
    assert f"coupling correlate {command}" in README


def pairs(cases):
    """The experiments of RL, each condition with P3O and GRPO side by side: (experiment, condition, p3o, grpo)."""
    rows = cases.set_index(["experiment", "run"])
    for epsilon in (0.2, 0.4, 0.6):
        yield "clip", f"ε {epsilon}", rows.loc[("clip", "p3o")], rows.loc[("clip", f"grpo {epsilon}")]
    for experiment, run in rows.index:
        objective, _, condition = run.partition(", ")
        if condition and objective == "p3o":
            yield experiment, condition, rows.loc[(experiment, run)], rows.loc[(experiment, f"grpo, {condition}")]


def experiment_cells(cases):
    """The README's table of them."""
    for experiment, condition, *both in pairs(cases):
        yield [
            experiment, condition, *(f"{one.held_out:.2f} ± {one.held_out_sd:.2f}" for one in both),
            " / ".join(f"{one.ess:.2f} ({one.ess_min:.2f})" for one in both),
            " / ".join(f"{abs(one.kl):.2f}" for one in both),  # rounding leaves a -0.00
            " / ".join(f"{100 * one.excess:.1f}" for one in both) + " %",
            " / ".join(f"{one.mismatch_early:.2f}" for one in both),
            " / ".join(f"{one.mismatch_to_initial:.2f}" for one in both),
        ]  # fmt: skip


def test_the_experiments_of_rl():
    results = Path(__file__).parents[2] / "analyses/studies/results"
    cases = pd.read_csv(results / "p3o.csv")
    assert len(cases) == 28
    assert (cases.seeds == 3).all()
    _, *rows = rows_of("P3O's experiments in miniature")
    assert rows == list(experiment_cells(cases))
    for experiment in cases.experiment.unique():
        assert (results / f"p3o-{experiment}.png").exists()


def test_what_is_said_of_the_experiments_of_rl():
    results = Path(__file__).parents[2] / "analyses/studies/results"
    runs, cases = pd.read_csv(results / "p3o-runs.csv"), pd.read_csv(results / "p3o.csv").set_index("run")
    text = re.sub(r"\s+", " ", README)
    bad = ruined(runs)
    assert set(runs[bad].run) == {f"{name}, rate {rate:g}" for name in ("p3o", "grpo") for rate in (2e-3, 5e-3)}
    sound = goes_with_reward(runs).set_index(["group", "quantity"]).loc[("sound", "excess")]
    low, high = (runs[bad][name].agg(["min", "max"]) for name in ("excess", "mismatch_early"))
    others = runs[~bad].mismatch_early.agg(["min", "max"])
    kl = cases.kl.round(2)
    old = runs[runs.run == "grpo, 16 old"].kl
    grpo_reused = kl[["grpo 0.2", "grpo 0.4", "grpo 0.6"]]
    for stated in (
        f"{len(runs)} runs of about",
        f"over the {(~bad).sum()} runs that ended above",
        f"in the {bad.sum()} that ended below",
        f"Spearman {sound.spearman:.2f}, p {sound.p:.2f}",
        f"from {100 * low['min']:.1f} to {100 * low['max']:.1f} %",
        f"it is {high['min']:.2f} to {high['max']:.2f} in those {bad.sum()}",
        f"and {others['min']:.2f} to {others['max']:.2f} in the others",
        f"{kl['p3o, 16 old']:.2f} nats against {kl['grpo, 16 old']:.2f} at 16 updates old",
        f"{kl['p3o, 4 bits']:.2f} against {kl['grpo, 4 bits']:.2f} at 4 bits",
        f"{kl['p3o']:.2f} against {grpo_reused.min():.2f} to {grpo_reused.max():.2f} with reused",
        f"at 16 updates old are {old.min():.2f} to {old.max():.2f})",
        f"({100 * cases.held_out_start.iloc[0]:.0f} % of them right at first)",
        f"Excess was {100 * cases.excess_start.iloc[0]:.1f} % at first",
    ):
        assert stated in text, stated
    fresh = runs[runs.experiment == "rate"]
    assert (fresh.ess == 1).all()
    assert (fresh.kl.abs() < 1e-4).all()
    assert runs[bad].held_out_early.max() < runs[~bad].held_out_early.min()  # reward tells them apart as well
    for condition in ("T 0.6", "T 1.2", "8 bits", "1 old", "4 old"):
        assert cases.kl[f"p3o, {condition}"] > cases.kl[f"grpo, {condition}"] - 0.005
    by_seed = runs.pivot_table(index="run", columns="seed", values="held_out")
    assert (by_seed.loc["p3o, T 1.2"] > by_seed.loc["grpo, T 1.2"]).all()
    for condition in ("4 bits", "16 old"):
        assert (by_seed.loc[f"p3o, {condition}"] < by_seed.loc[f"grpo, {condition}"]).all()
    assert f"ended at {by_seed.loc['p3o, 16 old'].min():.2f}" in text
