"""``coupling show`` on folders that are not runs."""

from tests.helpers import refused


def test_runs_that_are_none(cli, tmp_path):
    refused(cli("show", "nowhere"), "there is no folder nowhere")
    (tmp_path / "empty").mkdir()
    refused(cli("show", "empty"), "contains no run")
    refused(cli("diff", "empty", "nowhere"), "contains no run")
