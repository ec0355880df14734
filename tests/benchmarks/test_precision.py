"""``python -m benchmarks.precision``: float32 is far more exact than half precision, widened weights are as exact."""

import json

from benchmarks import precision


def test_the_errors_are_written(tmp_path, capsys):
    precision.main(["--prompts", "1", "--out", str(tmp_path / "figures.json")])
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert rows == json.loads(capsys.readouterr().out)
    error = {row["setting"]: row["largest_error"] for row in rows}
    assert len(error) == len(precision.SETTINGS)
    assert error["float32 weights, float32 passes"] < 1e-5
    assert error["bfloat16 weights, widened to float32"] < 1e-5
    assert error["bfloat16 weights and passes"] > 1e-4
