"""Prompts for RL as rows that TRL takes: from a built-in task, a file or a data set."""

from typing import Any

from coupling.analyses.rl.config import DataConfig, ProbeConfig
from coupling.analyses.rl.tasks import task
from coupling.errors import CouplingError, first_line, require
from coupling.models.prompts import read_prompts
from coupling.untrusted import clean, expanded, quoted

TASK_ROWS = 4096
"""Examples that are drawn from a task where the configuration gives no limit."""
FILE_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""File endings, and the name of the loader in the ``datasets`` package for each."""


def read_rows(config: DataConfig, seed: int = 0) -> Any:
    """The data as a ``datasets.Dataset`` with the columns ``prompt``, ``answer`` (if any) and all others.

    Args:
        config: the data's part of the configuration.
        seed: the seed of a task's examples.

    Raises:
        CouplingError: if the ``datasets`` package, the data or a column is missing, or a prompt is empty.
    """
    require("datasets", purpose="the data of an RL run")
    import datasets

    datasets.disable_progress_bars()
    if config.task is not None:
        examples = task(config.task).examples(config.limit or TASK_ROWS, seed)
        rows = datasets.Dataset.from_list([{"prompt": row.prompt, "answer": row.answer} for row in examples])
        return _as_chat(rows, config) if config.chat else rows
    name, rows = _load(config)
    if config.limit is not None:
        rows = rows.select(range(min(config.limit, len(rows))))
    if len(rows) == 0:
        raise CouplingError(f"there are no rows in {name}")
    rows = _rename_columns(rows, config, name)
    _check_prompts(rows["prompt"], config, name)
    return _as_chat(rows, config) if config.chat else rows


def probe_texts(probe: ProbeConfig, rows: Any) -> list[str]:
    """The prompts that coupling is measured on: those of the configuration, or the first of the data.

    Args:
        probe: the probe's part of the configuration.
        rows: what ``read_rows`` returned; of a conversation the last message is taken.

    Raises:
        CouplingError: if a file of prompts cannot be read.
    """
    if probe.prompts is not None:
        return read_prompts(probe.prompts).texts[: probe.count]
    chosen: list[Any] = list(rows["prompt"][: probe.count])
    return chosen if isinstance(chosen[0], str) else [str(messages[-1]["content"]) for messages in chosen]


def _load(config: DataConfig) -> tuple[str, Any]:
    """What messages call the data, and the rows of the file or data set."""
    import datasets

    if config.file is not None:
        path = expanded(config.file)
        name, loader = config.file, FILE_FORMATS.get(path.suffix.lower())
        if loader is None:
            raise CouplingError(f"data.file is {config.file}, but must be a .jsonl, .csv or .parquet file")
        if not path.is_file():
            raise CouplingError(f"the file {config.file}, which the key file of the data names, does not exist")
        arguments: dict[str, Any] = {"path": loader, "data_files": str(path), "split": "train"}
    else:
        name = f"the data set {config.dataset}"
        arguments = {"path": config.dataset, "name": config.config, "split": config.split}
    try:
        return name, datasets.load_dataset(**arguments)
    except Exception as error:  # a loader may raise anything; the message has to say which data it was
        raise CouplingError(f"cannot load {name}: {first_line(error)}") from None


def _rename_columns(rows: Any, config: DataConfig, name: str) -> Any:
    """The rows with their columns of prompts and answers called ``prompt`` and ``answer``."""
    for key, column in (("prompt", config.prompt), ("answer", config.answer)):
        if column is None:
            continue
        if column not in rows.column_names:
            raise CouplingError(
                f"{name} has no column {quoted(column)}, which data.{key} names; it has "
                f"{clean(', '.join(rows.column_names), 300)}"
            )
        if column != key:
            if key in rows.column_names:
                rows = rows.remove_columns(key)
            rows = rows.rename_column(column, key)
    return rows


def _check_prompts(prompts: Any, config: DataConfig, name: str) -> None:
    for index, prompt in enumerate(prompts):
        if not prompt or (isinstance(prompt, str) and not prompt.strip()):
            raise CouplingError(f"row {index} of {name} has an empty prompt")
        if config.chat and not isinstance(prompt, str):
            raise CouplingError(f"row {index} of {name} already contains messages, so data.chat does not apply")


def _as_chat(rows: Any, config: DataConfig) -> Any:
    """The rows with each prompt as a conversation: the system message, if there is one, and the user's."""
    system = [{"role": "system", "content": config.system}] if config.system is not None else []
    return rows.map(lambda row: {"prompt": [*system, {"role": "user", "content": row["prompt"]}]})
