"""The study of the leaderboard's columns: which points it joins, and that it writes its table."""

import sys

import pandas as pd

from coupling.analyses.correlation.published import published_table
from coupling.analyses.studies import leaderboard_columns as study


def test_points_are_joined_by_name():
    points = study.joined_points()
    published = published_table().frame
    assert set(study.SAME_MODELS) < set(points.frame.index)
    assert points.frame["coupling"].equals(published.loc[points.frame.index, "coupling"])
    assert points.frame.loc["gpt2", "mmlu"] == 25.83
    assert "leaderboard_average" not in points.frame
    assert "vicuna-7b-v1.5" not in points.frame.index  # a fine-tune is not in a table of base models


def test_the_table_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(study.columns_table, "__kwdefaults__", {"resamples": 9})
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(tmp_path / "new")])
    study.main()
    table = pd.read_csv(tmp_path / "new" / study.TABLE)
    assert table["column"].tolist() == [*study.joined_points().benchmarks]
