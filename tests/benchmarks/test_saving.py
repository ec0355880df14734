"""The benchmark of saving measures a run and its parts."""

import json

from benchmarks import saving


def test_the_run_is_saved_and_its_times_are_told(capsys):
    saving.main(["--prompts", "3", "--width", "16"])
    result = json.loads(capsys.readouterr().out)
    assert result["prompts"] == 3
    assert result["total_seconds"] >= result["measuring_seconds"] > 0
    assert result["bytes_on_disk"] > 0
