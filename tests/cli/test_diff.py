"""``coupling diff`` as a user meets it."""

import json

import pytest

from tests.helpers import refused


@pytest.fixture
def runs(cli):
    for seed in (0, 1):
        options = ("--limit", 2, "--k", 3, "--random-weights", "--seed", seed, "--out", f"run{seed}", "--quiet")
        assert cli("analyze", *options)[0] == 0
    return "run0", "run1"


def test_two_runs_side_by_side(cli, runs):
    code, out, err = cli("diff", *runs)
    assert (code, err) == (0, "")
    assert "difference" in out
    assert "seed: 0 | 1" in out
    assert "prompts differ" not in out
    rows = json.loads(cli("diff", *runs, "--json")[1])["scores"]
    assert all(row["standard_error"] > 0 for row in rows)
    measures = json.loads(cli("diff", *runs, "--json")[1])["calibrated"]
    assert "diagonal share" in out
    assert all(row["standard_error"] > 0 for row in measures)
    assert measures[0]["difference"] == pytest.approx(measures[0]["second"]["value"] - measures[0]["first"]["value"])
    assert rows[0]["difference"] == pytest.approx(rows[0]["second"]["score"] - rows[0]["first"]["score"])


def test_runs_that_do_not_compare(cli, runs):
    options = ("--limit", 1, "--k", 3, "--kind", "self", "--out", "tokens", "--quiet")
    assert cli("analyze", *options)[0] == 0
    refused(cli("diff", runs[0], "tokens"), "kind depth", "kind self")
    assert cli("analyze", "--limit", 1, "--k", 2, "--out", "other", "--quiet")[0] == 0
    refused(cli("diff", runs[0], "other"), "no K")
