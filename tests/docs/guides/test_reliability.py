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
