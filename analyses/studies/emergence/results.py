"""The results of the study: one table of all checkpoints, the turning points, and the pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.dynamics import checkpoint_runs, dynamics_table, turning_points
from coupling.analyses.studies.emergence.training import LOSSES, Member, members
from coupling.figures import checkpoints, dynamics, save
from coupling.files import load_json, write_atomically

TABLE, POINTS, SUMMARY = "emergence.csv", "emergence-points.csv", "emergence-summary.md"
K = 10
"""The K of the table and the pictures."""
MEASURES = ("score", "excess", "diagonal_share", "line_shape_score", "expodistance", "residual_growth")
MATRIX_STEPS = (0, 16, 32, 64, 128, 256, 768)
"""The steps whose matrices are drawn."""
LABELS = {
    "score": "coupling",
    "excess": "excess",
    "diagonal_share": "diagonal share",
    "line_shape_score": "line-shape score",
    "expodistance": "expodistance",
    "residual_growth": "growth of the residual norm",
}
"""How the page calls the measures."""
NAMES = {"decay-0": "weight decay 0", "decay-0.1": "weight decay 0.1"}
"""How pictures call the models."""


def gather(out: Path, everything: Sequence[Member] | None = None) -> pd.DataFrame:
    """The table of a finished study.

    Args:
        out: the study's folder.
        everything: the trainings; default: all.

    Returns:
        One row per model, seed, step, p and prompt at K = 10: the columns of ``dynamics_table``, and ``loss``, the
        held-out loss of the checkpoint in nats per token.
    """
    table = dynamics_table([out / "sweep"], by_prompt=True)
    table = table[table["k"] == K].reset_index(drop=True)
    losses = {
        (member.model, member.seed, int(step)): loss
        for member in (members() if everything is None else everything)
        for step, loss in load_json(out / "models" / member.name / LOSSES).items()
    }
    places = zip(table["model"], table["seed"], table["step"], strict=True)
    return table.assign(loss=[losses[place] for place in places])


def points_of(table: pd.DataFrame) -> pd.DataFrame:
    """Where each measure of each model turns, at p = 2."""
    return pd.concat([turning_points(table, measure) for measure in MEASURES], ignore_index=True)


def summary(table: pd.DataFrame, points: pd.DataFrame) -> list[list[str]]:
    """The table of the documentation's page: how each measure goes through training, at p = 2.

    Args:
        table: what ``gather`` returned.
        points: what ``points_of`` returned.

    Returns:
        A header and one row per measure and model; means over seeds and prompts, and steps with 95% intervals.
    """
    header = ["measure", "weight decay", "first", "lowest", "highest", "last", "steepest rise", "peak", "plateau from"]
    rows = [header]
    of_p = table[table["norm"] == 2]
    for measure in MEASURES:
        for model, name in NAMES.items():
            curve = of_p[of_p["model"] == model].groupby("step")[measure].mean()
            (point,) = points[(points["measure"] == measure) & (points["model"] == model)].to_dict("records")
            values = [f"{value:.3g}" for value in (curve.iloc[0], curve.min(), curve.max(), curve.iloc[-1])]
            steps = [_with_interval(point, which) for which in ("steepest_rise", "peak", "plateau")]
            rows.append([LABELS[measure], name.removeprefix("weight decay "), *values, *steps])
    losses = of_p.groupby(["model", "step"])["loss"].mean()
    for model, name in NAMES.items():
        curve = losses[model]
        values = [f"{value:.3g}" for value in (curve.iloc[0], curve.min(), curve.max(), curve.iloc[-1])]
        rows.append(["held-out loss", name.removeprefix("weight decay "), *values, "", "", ""])
    return rows


def _with_interval(point: dict[str, Any], name: str) -> str:
    """A step with its interval, such as ``39 (39 to 78)``; a dash where the curve never rises."""
    step, low, high = (point[key] for key in (name, f"{name}_low", f"{name}_high"))
    return "–" if math.isnan(step) else f"{step:.0f} ({low:.0f} to {high:.0f})"


def as_markdown(rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def write_results(out: Path, everything: Sequence[Member] | None = None) -> None:
    """Write the tables and the pictures into the study's folder.

    Args:
        out: the study's folder.
        everything: the trainings; default: all.
    """
    table = gather(out, everything)
    write_atomically(out / TABLE, table.to_csv(index=False, float_format="%.6g").encode())
    points = points_of(table)
    write_atomically(out / POINTS, points.to_csv(index=False, float_format="%.6g").encode())
    write_atomically(out / SUMMARY, as_markdown(summary(table, points)).encode())
    named = table.assign(model=table["model"].map(NAMES))
    save(dynamics(named), out / "emergence.png")
    save(
        dynamics(named[["model", "seed", "step", "k", "norm", "prompt", "score", "chance"]], norm=1),
        out / "emergence-p1.png",
    )
    runs = [run for run in checkpoint_runs([out / "sweep"]) if run.attrs["training_seed"] == 0]
    for run in runs:
        run.attrs["training_model"] = NAMES[run.attrs["training_model"]]
    present = {int(run.attrs["step"]) for run in runs}
    steps = [step for step in MATRIX_STEPS if step in present]
    save(checkpoints(runs, steps=steps, k=K), out / "emergence-matrices.png")
