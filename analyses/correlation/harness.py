"""Results of lm-evaluation-harness: JSON files that ``lm_eval run --output_path`` writes."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.benchmark_scores import Scores
from coupling.errors import CouplingError


def read_harness(path: Path) -> Scores:
    """Scores from a results file, or from all ``*.json`` results under a folder.

    A benchmark is a task and metric, such as ``arc_challenge acc_norm``, with the filter's name where it is not
    ``none``. Where a group has a score of its own (``mmlu``), its tasks are left out. Of several files that hold the
    same benchmark of the same model the newest counts, by the date inside.

    Args:
        path: a file or a folder.

    Raises:
        CouplingError: if there is nothing to be read, or a file that must be one is no results file.
    """
    notes: list[str] = []
    contents = []
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            content = _load(file)
            if content is None:
                notes.append(f"{file} is no lm-evaluation-harness results file, and is left out")
            else:
                contents.append((file, content))
        if not contents:
            raise CouplingError(f"the folder {path} holds no lm-evaluation-harness results (*.json)")
    else:
        content = _load(path)
        if content is None:
            raise CouplingError(
                f"{path} is no lm-evaluation-harness results file: it needs the keys results and model_name"
            )
        contents.append((path, content))
    contents.sort(key=lambda item: _date(item[1]))
    table: dict[str, dict[str, float]] = {}
    for file, content in contents:
        row = table.setdefault(_model(content, file), {})
        for name, value in _benchmarks(content).items():
            if name in row and row[name] != value and value == value:
                notes.append(f"{name} of {_model(content, file)} is taken from {file}, the newest of several")
            row[name] = value
    frame = pd.DataFrame.from_dict(table, orient="index", dtype=float)
    if frame.empty:
        raise CouplingError(f"{path} holds lm-evaluation-harness results without a single score")
    frame.index.name = "model"
    return Scores(frame, pd.DataFrame(index=frame.index), {}, str(path), notes)


def _date(content: dict[str, Any]) -> float:
    """When a file was written, in seconds; 0 where it does not say it as a number."""
    try:
        return float(content.get("date") or 0)
    except (TypeError, ValueError):
        return 0.0


def _load(file: Path) -> dict[str, Any] | None:
    """A results file's content; None for any other JSON."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CouplingError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise CouplingError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        return None
    return content if _name(content) else None


def _name(content: dict[str, Any]) -> str:
    """The model's name: ``model_name``, or the ``pretrained`` argument where the harness left that empty."""
    arguments = (content.get("config") or {}).get("model_args") or {}
    if isinstance(arguments, str):  # before version 0.4.10 they were one string
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    return str(content.get("model_name") or arguments.get("pretrained") or "")


def _model(content: dict[str, Any], file: Path) -> str:
    return _name(content) or file.parent.name


def _benchmarks(content: dict[str, Any]) -> dict[str, float]:
    """Scores by benchmark; standard errors and sample counts are none."""
    results = content["results"]
    groups = content.get("group_subtasks") or {}
    inside = {task for group in groups if _scores(results.get(group, {}), group) for task in groups[group]}
    scores: dict[str, float] = {}
    for task, metrics in results.items():
        if task not in inside and isinstance(metrics, dict):
            scores |= _scores(metrics, task)
    return scores


def _scores(metrics: dict[str, Any], task: str) -> dict[str, float]:
    found = {}
    for key, value in metrics.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, (bool, str)) or value is None:
            continue
        if isinstance(value, (int, float)):
            name = f"{task} {metric}" + ("" if filter_name == "none" else f" ({filter_name})")
            found[name] = float(value) if math.isfinite(value) else math.nan
    return found
