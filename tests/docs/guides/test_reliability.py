"""The guide's figures are those of recorded runs of the benchmarks."""

import json

from tests.docs.pages import text_of
from tests.helpers import ROOT

PAGE = "guides/reliability.md"


def test_the_cost_of_saving():
    measured = json.loads((ROOT / "benchmarks/recorded/saving.json").read_text())
    total, measuring, prompts = (measured[key] for key in ("total_seconds", "measuring_seconds", "prompts"))
    text = text_of(PAGE)
    assert f"{prompts:,} short prompts" in text
    assert f"{1000 * measuring / prompts:.0f} ms each, took {total:.0f} s with saving" in text
    assert f"{total / measuring:.2f} times the {measuring:.0f} s of the measuring itself" in text


def test_the_figures_of_the_crash_test():
    figures = json.loads((ROOT / "benchmarks/recorded/crash_test.json").read_text())
    of = figures["kills_of"]
    assert figures["kills"] == sum(of.values())
    text = text_of(PAGE)
    moments = f"{of['analyze']} of `analyze`, {of['rl']} of `rl` and {of['sweep']} of `sweep` at random moments"
    assert f"{figures['kills']} kills ({of['operations']} at file operations, and {moments})" in text
    assert f"{figures['resumes']} resumes" in text
    assert f"tried {figures['inputs']} damaged files: nothing was lost" in text
    assert of["analyze"] >= 200
    assert min(of["rl"], of["sweep"]) >= 40
