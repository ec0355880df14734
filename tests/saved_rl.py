"""A run of ``coupling rl`` on disk, written by hand: what several tests read."""

import csv
import json
from pathlib import Path
from typing import Any

CONFIG = {
    "model": "task",
    "objective": "p3o",
    "data": {"task": "brackets", "dataset": None},
    "probe": {"k": [5, "10%"], "every": 2},
    "trainer": {"max_steps": 4},
    "lora": None,
}


def write_rl_run(folder: Path, **changes: Any) -> Path:
    """Two seeds of four steps; coupling is measured at steps 0, 2 and 4, and the excess rises by seed and step.

    Args:
        folder: it is made.
        **changes: keys of ``run.json`` with other values.
    """
    folder.mkdir(parents=True)
    rows = []
    for seed in (0, 1):
        for step in range(5):
            row: dict[str, Any] = {"run": "p3o", "seed": seed, "step": step}
            if step:
                row |= {"reward": 0.1 * step + 0.01 * seed, "ess": 1 - 0.1 * (step == 2), "kl": 0.01 * step}
            if step % 2 == 0:
                row |= {"score": 0.1 + 0.01 * step, "chance": 0.02, "excess": 0.08 + 0.01 * step + 0.001 * seed}
                row |= {"coupling/score_k5_p1": 0.6, "coupling/chance_k5_p1": 0.5, "coupling/excess_k5_p1": 0.2}
                row |= {"coupling/score_k10pct_p2": 0.3, "coupling/k10pct": 12.0}
                row |= {"coupling/diagonal_share_k5": 0.25, "coupling/line_shape_score": 1.5}
            rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    content = {"config": CONFIG, "seeds": [0, 1], "finished": True, "error": None} | changes
    (folder / "run.json").write_text(json.dumps(content))
    return folder
