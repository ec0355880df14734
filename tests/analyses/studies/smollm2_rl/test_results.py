"""What results say: areas by NumPy, means, and tables that follow from the files alone."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.studies.smollm2_rl.design import planned
from coupling.analyses.studies.smollm2_rl.results import by_run, read_curves, write_results


def test_one_row_per_run(results):
    runs = by_run(read_curves(planned(), results))
    assert runs["updates"].tolist() == [12, 4, 0]
    assert runs["area"].tolist() == pytest.approx([np.trapezoid([0.2, 0.25, 0.1, 0.4], dx=4) / 12, 0.225, 0.2])
    assert runs["end"].tolist() == [0.4, 0.25, 0.2]
    assert runs["ess"].tolist()[:2] == [0.75, 0.5]
    assert runs["score_start"].tolist() == [0.1] * 3
    assert runs["score_end"].iloc[0] == 0.3
    assert np.isnan(runs["score_end"].iloc[1])


def test_table_and_picture_follow_from_the_files(results, tmp_path):
    assert write_results(planned(), results).startswith("16 of 96 planned updates are made\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "smollm2-rl.csv", "smollm2-rl.png"]
    assert len(pd.read_csv(tmp_path / "smollm2-rl.csv")) == 3
    empty = tmp_path / "empty" / "rows"
    empty.mkdir(parents=True)
    assert write_results(planned(), empty) == "0 of 96 planned updates are made"
