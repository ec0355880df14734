"""Results of lm-evaluation-harness: the JSON files that ``lm_eval run --output_path`` writes."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.benchmark_scores import Scores
from coupling.errors import CouplingError
from coupling.untrusted import clean, quoted, read_json

MOST_FILES = 10_000
"""The most JSON files that are read below a folder."""


def read_harness(path: Path) -> Scores:
    """Read the scores of one results file, or of all ``*.json`` results below a folder.

    A benchmark is a task and a metric, such as ``arc_challenge acc_norm``, with the filter's name where it is not
    ``none``. Where a group such as ``mmlu`` has a score of its own, its tasks are left out. If several files contain
    the same benchmark of the same model, the newest one counts, by the date in the file.

    Args:
        path: a file or a folder.

    Raises:
        CouplingError: if the folder contains no results, or the file is not a results file or contains no score.
    """
    contents, notes = _read_folder(path) if path.is_dir() else ([(path, _read_file(path))], [])
    contents.sort(key=lambda item: _date(item[1]))
    table: dict[str, dict[str, float]] = {}
    for file, content in contents:
        model = _model_name(content)
        row = table.setdefault(model, {})
        for name, value in _benchmarks(content).items():
            if name in row and row[name] != value and not math.isnan(value):
                notes.append(f"{name} of {model} is taken from {file}, the newest of several files")
            row[name] = value
    frame = pd.DataFrame.from_dict(table, orient="index", dtype=float)
    if frame.empty:
        raise CouplingError(f"{path} contains lm-evaluation-harness results without a single score")
    frame.index.name = "model"
    return Scores(frame, pd.DataFrame(index=frame.index), {}, str(path), notes)


def _read_folder(folder: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """The results files below a folder with their contents, and a note for each other JSON file."""
    contents, notes = [], []
    files = sorted(islice(folder.rglob("*.json"), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise CouplingError(
            f"the folder {clean(folder, 300)} contains more than {MOST_FILES:,} JSON files; name one of them"
        )
    for file in files:
        content = _load(file)
        if content is None:
            notes.append(f"{file} is not an lm-evaluation-harness results file, and is left out")
        else:
            contents.append((file, content))
    if not contents:
        raise CouplingError(f"the folder {folder} contains no lm-evaluation-harness results (*.json)")
    return contents, notes


def _read_file(file: Path) -> dict[str, Any]:
    content = _load(file)
    if content is None:
        raise CouplingError(
            f"{file} is not an lm-evaluation-harness results file: it needs the keys results and model_name"
        )
    return content


def _load(file: Path) -> dict[str, Any] | None:
    """The content of a results file; None for any other JSON."""
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        return None
    return content if _model_name(content) else None


def _date(content: dict[str, Any]) -> float:
    """When a file was written, in seconds; 0 where its date is not a number."""
    try:
        date = float(content.get("date") or 0)
    except (TypeError, ValueError):
        return 0.0
    return date if math.isfinite(date) else 0.0


def _model_name(content: dict[str, Any]) -> str:
    """``model_name``, or the ``pretrained`` argument where the harness left that empty; empty without either."""
    config = content.get("config")
    arguments = config.get("model_args") if isinstance(config, dict) else None
    if isinstance(arguments, str):  # before version 0.4.10 they were one string
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    pretrained = arguments.get("pretrained") if isinstance(arguments, dict) else None
    name = content.get("model_name") or pretrained or ""
    if not isinstance(name, str):
        raise CouplingError(f"a results file names the model {quoted(name)}, which is not a text")
    return name


def _benchmarks(content: dict[str, Any]) -> dict[str, float]:
    """Scores by benchmark, without the tasks of a group that has a score of its own."""
    results = content["results"]
    groups = content.get("group_subtasks")
    groups = groups if isinstance(groups, dict) else {}
    inside = {
        task
        for group, tasks in groups.items()
        if isinstance(tasks, list) and _scores(results.get(group), group)
        for task in tasks
        if isinstance(task, str)
    }
    scores: dict[str, float] = {}
    for task, metrics in results.items():
        if task not in inside:
            scores |= _scores(metrics, task)
    return scores


def _scores(metrics: Any, task: str) -> dict[str, float]:
    """The scores of one task by benchmark; standard errors and sample counts are not scores."""
    scores: dict[str, float] = {}
    for key, value in metrics.items() if isinstance(metrics, dict) else ():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            name = f"{task} {metric}" + ("" if filter_name == "none" else f" ({filter_name})")
            scores[name] = float(value) if math.isfinite(value) else math.nan
    return scores
