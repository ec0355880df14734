"""Runs of many checkpoints as one tidy table: measures by model, seed and training step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from coupling import calibrated
from coupling.analyses.dynamics.names import Place, place_of
from coupling.analyses.rl.dynamics import dynamics_rows
from coupling.analyses.rl.saved_run import is_rl_run, read_rl_run
from coupling.analyses.sweep.runs import runs_of
from coupling.choices import CALIBRATED
from coupling.dataset import DETAIL_VARIABLES, per_prompt
from coupling.errors import CouplingError
from coupling.metrics import excess
from coupling.run_folder import open_run
from coupling.shares import labels_of

KEYS = ("model", "seed", "step", "k", "k_label", "norm", "prompt")
OF_PAIRS = tuple(measure.name for measure in CALIBRATED)
MEASURES = ("score", "chance", "excess", *OF_PAIRS, "line_shape_score", "expodistance", "residual_growth")


def checkpoint_runs(folders: Sequence[str | Path], *, step_pattern: str | None = None) -> list[xr.Dataset]:
    """Open the runs of checkpoints, in order of model, seed and step.

    Args:
        folders: run folders, folders of studies that ``coupling sweep`` wrote, or folders that contain run folders.
        step_pattern: see ``coupling.analyses.dynamics.names.place_of``.

    Returns:
        The runs without their detail; the attributes ``training`` (model and seed) and ``step`` say where each belongs.

    Raises:
        CouplingError: if a folder contains no run, a run has no step, or two runs are of the same model, seed and step.
    """
    found: dict[Place, tuple[Path, xr.Dataset]] = {}
    for folder in _run_folders(folders):
        run = open_run(folder, without=DETAIL_VARIABLES)
        place = place_of(run.attrs, folder, step_pattern)
        if place in found:
            raise CouplingError(
                f"{found[place][0]} and {folder} are both runs of {place.training}, step {place.step}; give one of them"
            )
        found[place] = folder, run
    models = list(dict.fromkeys(place.model for place in found))
    ordered = sorted(found, key=lambda place: (models.index(place.model), place.seed, place.step))
    runs = []
    for place in ordered:
        _, run = found[place]
        run.attrs |= {"training_model": place.model, "training_seed": place.seed, "step": place.step}
        runs.append(run)
    return runs


def dynamics_table(
    folders: Sequence[str | Path], *, step_pattern: str | None = None, by_prompt: bool = False
) -> pd.DataFrame:
    """The measures of the runs of checkpoints, for the picture ``dynamics`` and for ``turning_points``.

    Args:
        folders: see ``checkpoint_runs``; also those of runs of ``coupling rl``, whose model is the folder's name.
        step_pattern: see ``coupling.analyses.dynamics.names.place_of``.
        by_prompt: one row for each prompt, for uncertainty; otherwise means over prompts.

    Returns:
        One row per model, seed, step, K and p (and prompt), with the columns ``model``, ``seed``, ``step``, ``k``,
        ``k_label`` (how K was asked for, such as "10%"), ``norm`` (and ``prompt``), ``score``, ``chance`` and
        ``excess``, which depend on K and p, the calibrated measures, which depend on K, and ``line_shape_score``,
        ``expodistance`` and ``residual_growth`` (medians over tokens), which depend on neither.

    Raises:
        CouplingError: see ``checkpoint_runs``.
    """
    of_rl = [folder for folder in folders if is_rl_run(folder)]
    others = [folder for folder in folders if folder not in of_rl]
    if of_rl and by_prompt:
        raise CouplingError(f"{of_rl[0]} is a run of coupling rl, which has no numbers of single prompts")
    rows = [row for folder in of_rl for row in dynamics_rows(read_rl_run(folder))]
    runs = checkpoint_runs(others, step_pattern=step_pattern) if others or not of_rl else []
    rows += [row for run in runs for row in _rows(run, by_prompt)]
    columns = [*KEYS, *MEASURES] if by_prompt else [name for name in (*KEYS, *MEASURES) if name != "prompt"]
    return pd.DataFrame(rows, columns=columns)


def _run_folders(folders: Sequence[str | Path]) -> list[Path]:
    """The run folders; a folder that contains no run itself stands for those inside it (or inside its ``runs``)."""
    found: list[Path] = []
    for folder in runs_of([Path(folder).expanduser() for folder in folders]):
        inside = (
            []
            if (folder / "run.nc").exists()
            else sorted(folder.glob("*/run.nc")) or sorted(folder.glob("runs/*/run.nc"))
        )
        found += [path.parent for path in inside] or [folder]
    return found


def _rows(run: xr.Dataset, by_prompt: bool) -> list[dict[str, Any]]:
    """The rows of one run."""
    place = {"model": run.attrs["training_model"], "seed": run.attrs["training_seed"], "step": run.attrs["step"]}
    mismatch, chance = per_prompt(run, "mismatch"), per_prompt(run, "chance")
    growth = run.residual_norm.isel(layer=-1) / run.residual_norm.isel(layer=0)
    of_tokens = {"line_shape_score": run.line_shape_score, "expodistance": run.expodistance, "residual_growth": growth}
    of_pairs = {measure.name: calibrated.means(run, measure.name)[0] for measure in calibrated.measures_in(run)}
    selections: list[Any] = run.prompt.values.tolist() if by_prompt else [run.prompt.values]
    rows = []
    for prompts in selections:
        medians = {name: float(values.sel(prompt=prompts).median()) for name, values in of_tokens.items()}
        for k, label in [(k, label) for k, each in zip(run.k.values, labels_of(run), strict=True) for label in each]:
            shared = {name: float(means.sel(k=k, prompt=prompts).mean()) for name, means in of_pairs.items()}
            for norm in run.norm.values.tolist():
                at = {"k": int(k), "norm": norm, "prompt": prompts}
                m, m_chance = (float(values.sel(at).mean()) for values in (mismatch, chance))
                values = {"score": 1 - m, "chance": 1 - m_chance, "excess": float(excess(m, m_chance))}
                rows.append(place | at | {"k_label": str(label)} | values | shared | medians)
    return rows
