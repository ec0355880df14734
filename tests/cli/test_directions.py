"""``coupling directions`` as a user meets it."""

import csv
import io
import json

import pytest

from tests.helpers import refused


@pytest.fixture
def mine(cli):
    assert cli("analyze", "--limit", 1, "--k", 3, "--out", "mine", "--quiet")[0] == 0
    return "mine"


def test_the_same_table_in_three_forms(cli, mine):
    options = ("directions", mine, "--blocks", "3:5", "--k", 2, "--top", 3)
    code, out, err = cli(*options)
    assert (code, err) == (0, "")
    assert "block 3 writes" in out
    found = json.loads(cli(*options, "--json")[1])
    assert (found["token"], found["items"], len(found["directions"])) == (31, "tokens", 2 * 2 * 2)
    rows = list(csv.DictReader(io.StringIO(cli(*options, "--csv")[1])))
    assert [json.loads(row["toward"]) for row in rows] == [row["toward"] for row in found["directions"]]


def test_mistakes_are_one_line(cli, mine):
    refused(cli("directions", mine, "--blocks", "3:99"), "there are no blocks 3:99", "0 to 7")
    refused(cli("directions", mine, "--blocks", "3"), "--blocks", "4:12", code=2)
    refused(cli("directions", mine, "--csv", "--json"), "exclude each other", code=2)
    refused(cli("directions", "nowhere"), "there is no folder nowhere")


def test_the_report_shows_directions(cli, mine, tmp_path):
    assert cli("report", mine, "--directions", "3:5", "-o", "page.html", "--quiet")[0] == 0
    assert 'id="directions"' in (tmp_path / "page.html").read_text()
