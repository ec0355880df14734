"""A first token that dwarfs the others is left out of what is averaged or drawn over tokens, and that is said."""

import numpy as np
import pytest

import coupling
from coupling import figures
from coupling.analyses.correlation.measures import measures_of
from coupling.errors import CouplingError
from coupling.figures.trajectory import paths_of
from coupling.sinks import DOMINANT, note, skipped, without_first
from tests.helpers import refused


@pytest.fixture(scope="module")
def sink(run):
    """A run whose first token has a hundred times its norm from the first block on."""
    made = run.copy(deep=True)
    made["residual_norm"].loc[{"token": 0}] = 100 * run.residual_norm.sel(token=0)
    made["line_shape_score"].loc[{"token": 0}] = 1e6
    made["residual_stream"].loc[{"token": 0}] = 100 * run.residual_stream.sel(token=0)
    return made


def test_dominance_is_the_largest_ratio_to_the_median_of_the_other_tokens(run):
    ratios = []
    for prompt in range(run.sizes["prompt"]):
        norms = run.residual_norm.values[prompt, : int(run.n_tokens[prompt])]
        ratios.append((norms[0] / np.median(norms[1:], axis=0)).max())
    assert coupling.first_token_dominance(run) == pytest.approx(np.median(ratios))
    assert coupling.first_token_dominance(run) < DOMINANT
    assert np.isnan(coupling.first_token_dominance(run.isel(token=[0])))


def test_a_run_without_a_sink_keeps_all_tokens(run):
    assert skipped(run) == 0
    assert note(run) == ""
    summary = coupling.summarize(run)
    assert summary["tokens_left_out"] == ""
    assert summary["tokens"]["line_shape_score"]["tokens"] == int(run.n_tokens.sum())


def test_a_sink_is_left_out_of_the_summary_and_of_correlate(run, sink):
    assert skipped(sink) == 1
    summary = coupling.summarize(sink)
    others = run.line_shape_score.isel(token=slice(1, None)).values
    assert summary["tokens"]["line_shape_score"]["mean"] == pytest.approx(np.nanmean(others))
    assert summary["tokens_left_out"].startswith("first token left out (its norm reaches 1")
    assert coupling.summarize(sink, skip_first=0)["tokens"]["line_shape_score"]["mean"] > 1e4
    assert coupling.summarize(sink, skip_first=0)["tokens_left_out"] == ""
    assert measures_of(sink)["line-shape score"] == pytest.approx(np.nanmedian(others))


def test_a_number_is_obeyed_whatever_the_norms(run, sink):
    assert skipped(run, 2) == 2
    assert note(run, 2) == "the first 2 tokens of each prompt left out"
    assert note(run, 1) == "each prompt's first token left out"
    assert skipped(sink, 0) == 0
    longest = int(run.n_tokens.max())
    for bad in (-1, longest):
        with pytest.raises(
            coupling.CouplingError, match=rf"`skip_first={bad}` does not leave a token.*to {longest - 1}"
        ):
            coupling.summarize(run, skip_first=bad)


def test_pictures_leave_a_sink_out_and_say_so(sink):
    assert paths_of(sink, 0).tokens[0] == 1
    assert paths_of(sink, 0, skip_first=0).tokens[0] == 0
    assert paths_of(sink, 0, tokens=0).tokens == [0]  # asked for by name
    caption = figures.trajectory(sink).legends[0].get_title().get_text()
    assert "first token left out (its norm reaches" in caption
    assert "left out" not in figures.trajectory(sink, skip_first=0).legends[0].get_title().get_text()
    upper, lower = figures.linearity(sink).axes
    assert upper.lines[0].get_xdata()[0] == 1
    assert "first token left out" in lower.get_xlabel()
    upper, lower = figures.linearity(sink, prompt=0, skip_first=2).axes
    assert list(upper.lines[0].get_xdata()[:2]) == [2, 3]
    assert "the first 2 tokens" in lower.get_xlabel()


def test_the_page_leaves_a_sink_out_and_says_so(sink):
    pytest.importorskip("jinja2")
    page = figures.report(sink)
    assert "first token is left out of the measures of tokens, because its norm reaches" in page
    assert '<option value="1" selected>' in page[page.index('id="control-skip"') :]
    assert "is left out of the measures" not in figures.report(sink, skip_first=0)


def test_the_commands(cli):
    assert cli("analyze", "--limit", 2, "--k", 3, "--out", "run", "--quiet")[0] == 0
    assert "left out" not in cli("show", "run")[1]
    assert "the first 2 tokens of each prompt left out" in cli("show", "run", "--skip-first", 2)[1]
    for picture in ("trajectory", "linearity"):
        assert cli("plot", "run", "--picture", picture, "--skip-first", 1, "-o", f"{picture}.svg")[0] == 0
    refused(cli("show", "run", "--skip-first", 4000), "--skip-first 4000 does not leave a token")
    refused(
        cli("plot", "run", "--picture", "heatmap", "--skip-first", 1, "-o", "a.svg"),
        "--skip-first applies to runs that compare tokens",
    )
    circle = cli("plot", "run", "--picture", "circle", "--skip-first", 1, "-o", "a.svg")
    refused(circle, "--skip-first does not apply", code=2)


@pytest.fixture(scope="module")
def compared():
    """A run that compares tokens, whose first token looks like a sink and couples with no other."""
    run = coupling.analyze(prompts=["import os, sys, re"], k=3, kind="self", tokens=(0, 1, 2, 3))
    norms = run.residual_norm.copy()
    norms[{"token": 0}] = 1e4
    with_first = (run.token == 0) | (run.other_token == 0)
    mismatch = run.mismatch.where(~with_first | run.mismatch.isnull(), 1.0)
    return run.assign(residual_norm=norms, mismatch=mismatch)


def test_averages_over_pairs_of_tokens_leave_a_sink_out(compared):
    by_hand = compared.mismatch.sel(k=3, norm=2, token=[1, 2, 3], other_token=[1, 2, 3]).values[0]
    off = ~np.eye(3, dtype=bool)
    expected = 1 - by_hand[:, off].mean()
    assert coupling.score(compared) == pytest.approx(expected)
    (row,) = [r for r in coupling.summarize(compared)["scores"] if (r["norm"], r["variant"]) == (2, "absolute")]
    assert row["score"] == pytest.approx(expected)
    assert coupling.excess(compared) == pytest.approx(row["excess"])
    assert coupling.run_table({"a": compared}).loc[0, "score"] == pytest.approx(expected)
    assert measures_of(compared)["coupling K=3 p=2"] == pytest.approx(expected)
    (with_it,) = [
        r for r in coupling.summarize(compared, skip_first=0)["scores"] if (r["norm"], r["variant"]) == (2, "absolute")
    ]
    assert with_it["score"] < expected
    drawn = figures.heatmap(compared, excess=False)
    assert drawn.axes[0].images[0].get_array().shape == (3, 3)
    assert "first token left out" in drawn.get_suptitle()
    assert figures.heatmap(compared, skip_first=0).axes[0].images[0].get_array().shape == (4, 4)


def test_runs_of_blocks_are_as_they_are(sink):
    assert without_first(sink) is sink
    with pytest.raises(CouplingError, match="applies to runs that compare tokens"):
        figures.heatmap(sink, skip_first=1)


def test_two_tokens_stay(compared):
    two = compared.sel(token=compared.token >= 0).copy()
    two["singular_values"] = two.singular_values.where(two.token < 2)
    assert without_first(two) is two  # only the sink and one other token were measured
    assert note(two) == ""
    with pytest.raises(CouplingError, match="does not leave two measured tokens"):
        without_first(two, 1)
