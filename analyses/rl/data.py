"""Prompts for RL as rows that TRL takes: from a built-in task, a file or a data set."""

from pathlib import Path
from typing import Any

from coupling.analyses.rl.config import TASK_MODEL, DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.tasks import task
from coupling.errors import CouplingError, first_line
from coupling.models.folder import is_local
from coupling.models.prompts import read_prompts

TASK_ROWS = 4096


def read_rows(config: DataConfig, seed: int = 0) -> Any:
    """The data as a ``datasets.Dataset`` with the columns ``prompt``, ``answer`` (if any) and all others.

    Args:
        config: what was asked for.
        seed: of a task's examples.

    Raises:
        CouplingError: if the data, a column or a prompt is not there.
    """
    import datasets

    datasets.disable_progress_bars()
    if config.task is not None:
        examples = task(config.task).examples(config.limit or TASK_ROWS, seed)
        rows = datasets.Dataset.from_list([{"prompt": row.prompt, "answer": row.answer} for row in examples])
        return _chat(rows, config) if config.chat else rows
    name, rows = _load(config)
    if config.limit is not None:
        rows = rows.select(range(min(config.limit, len(rows))))
    if len(rows) == 0:
        raise CouplingError(f"there are no rows in {name}")
    for key, column in (("prompt", config.prompt), ("answer", config.answer)):
        if column is None:
            continue
        if column not in rows.column_names:
            raise CouplingError(
                f"{name} has no column {column!r}, which data.{key} names; it has {', '.join(rows.column_names)}"
            )
        if column != key:
            if key in rows.column_names:
                rows = rows.remove_columns(key)
            rows = rows.rename_column(column, key)
    for index, prompt in enumerate(rows["prompt"]):
        if not prompt or (isinstance(prompt, str) and not prompt.strip()):
            raise CouplingError(f"row {index} of {name} has an empty prompt")
        if config.chat and not isinstance(prompt, str):
            raise CouplingError(f"row {index} of {name} holds messages already, so data.chat does not apply")
    return _chat(rows, config) if config.chat else rows


def probe_texts(probe: ProbeConfig, rows: Any) -> list[str]:
    """The prompts that coupling is measured on: those that were asked for, or the first of the data.

    Args:
        probe: what was asked for.
        rows: ``read_rows``'s; of a conversation the last message is taken.

    Raises:
        CouplingError: if a file of prompts cannot be read.
    """
    if probe.prompts is not None:
        return read_prompts(probe.prompts).texts[: probe.count]
    chosen: list[Any] = list(rows["prompt"][: probe.count])
    return chosen if isinstance(chosen[0], str) else [str(messages[-1]["content"]) for messages in chosen]


def _load(config: DataConfig) -> tuple[str, Any]:
    import datasets

    source: tuple[str | None, str | None]
    options: dict[str, Any]
    if config.file is not None:
        path = Path(config.file).expanduser()
        kind = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(path.suffix.lower())
        if kind is None:
            raise CouplingError(f"data.file is {config.file}, but must be a .jsonl, .csv or .parquet file")
        if not path.is_file():
            raise CouplingError(f"there is no file {config.file}, which data.file names")
        name, source, options = config.file, (kind, None), {"data_files": str(path), "split": "train"}
    else:
        name, source, options = f"the data set {config.dataset}", (config.dataset, config.config), {}
        options["split"] = config.split
    try:
        return name, datasets.load_dataset(*source, **options)
    except Exception as error:  # whatever a loader raises, the user is told which data it was
        raise CouplingError(f"cannot load {name}: {first_line(error)}") from None


def _chat(rows: Any, config: DataConfig) -> Any:
    system = [{"role": "system", "content": config.system}] if config.system is not None else []
    return rows.map(lambda row: {"prompt": [*system, {"role": "user", "content": row["prompt"]}]})


def initial_model(config: RunConfig, seed: int) -> str:
    """The model that a run begins from: a folder or hub id.

    The small model of a task is trained first if it was not kept.

    Raises:
        CouplingError: if a local folder holds no checkpoint.
    """
    if config.model == TASK_MODEL:
        from coupling.analyses.rl.warm_start import warm_start

        return str(warm_start(str(config.data.task), seed=seed))
    if is_local(config.model):
        folder = Path(config.model).expanduser()
        if not (folder / "config.json").exists():
            raise CouplingError(f"there is no checkpoint in {config.model} (no config.json); give a folder or a hub id")
        return str(folder)
    return config.model
