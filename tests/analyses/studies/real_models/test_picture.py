"""The picture of the study of real models has a pair of dots and a pair of lines per model."""

import pandas as pd

from coupling.analyses.studies.real_models.picture import draw


def test_dots_and_lines():
    rows = [
        {
            "model": model,
            "weights": weights,
            "kind": "depth",
            "k_name": "10",
            "measure": "diagonal share",
            "value": value,
        }
        for model in ("one", "two")
        for weights, value in (("trained", 0.4), ("random", 0.1))
    ]
    distances = [
        {"model": row["model"], "weights": row["weights"], "distance": distance, "excess": row["value"] / distance}
        for row in rows
        for distance in (1, 2)
    ]
    upper, lower = draw(pd.DataFrame(rows), pd.DataFrame(distances)).axes
    assert [float(dots.get_offsets()[0][0]) for dots in upper.collections] == [0.1, 0.4, 0.1, 0.4]
    assert [label.get_text() for label in upper.get_yticklabels()] == ["one", "two"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in lower.lines}
    assert lines["two, trained"] == [0.4, 0.2]
    assert len(lines) == 4
