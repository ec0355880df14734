"""``coupling report`` as a user meets it."""

import pytest

PROMPTS = ("analyze", "--prompts", "import os\nimport sys", "--k", 3)


@pytest.fixture
def run(cli):
    assert cli(*PROMPTS, "--out", "run")[0] == 0
    return "run"


def test_the_report(cli, run, tmp_path):
    (tmp_path / "s.csv").write_text("model,score,benchmark\na,1,2\nb,2,4\nc,3,5\n")
    code, out, err = cli("report", run, run, "--scatter", "s.csv", "-o", "page.html")
    assert (code, out) == (0, "")
    assert err.startswith("saved page.html (")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert cli("report", run, "--quiet") == (0, "", "")
    assert (tmp_path / "report.html").exists()
