"""The files of a run on disk, and which folders contain one; nothing heavy is imported before a run is read.

``coupling.run_folder`` writes and reads them.
"""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError
from coupling.files import check_output_folder, load_json
from coupling.untrusted import clean, expanded

DATA, SUMMARY, STARTED, PARTS = "run.nc", "run.json", "started.json", "parts.bin"
STREAMED = "streamed.bin"
"""What a streamed run has measured of its prompts, block by block; see ``coupling.stream_store``."""
FILES = (DATA, SUMMARY, STARTED)
"""The files that are written atomically."""
FORMER_PARTS = "parts"
"""The folder in which versions before 0.2.0 kept the prompts of an unfinished run."""
REPLACING = "replacing"
"""The key of a ``started.json`` that stands for a run that is being removed."""
INPUTS = "inputs_hashes"
"""The key of a ``run.json`` that lists the hash of each prompt's inputs."""


def is_run(entries: Collection[str]) -> bool:
    """Whether the names in a folder are those of a run, finished or not."""
    return STARTED in entries or {DATA, SUMMARY} <= set(entries)


def check_run_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> bool:
    """Whether a folder contains a run, after checking that one may be written there.

    Raises:
        CouplingError: see ``check_output_folder``.
    """
    return bool(check_output_folder(folder, is_ours=is_run, overwrite=overwrite, resume=resume, files=FILES))


def inputs_of(identity: Any) -> str:
    """What the inputs of a run are called, by its identity: "prompts" or "images"."""
    return "images" if isinstance(identity, dict) and "processor_hash" in identity else "prompts"


def inputs_in(folder: Path) -> str:
    """What an unfinished run in a folder measures: "prompts" or "images"."""
    try:
        return inputs_of(load_json(folder / STARTED).get("identity"))
    except CouplingError:
        return inputs_of(None)


def count_measured(folder: Path) -> int:
    """The number of prompts or images that are saved in the folder of an unfinished run."""
    with contextlib.suppress(OSError, CouplingError):
        if (folder / PARTS).exists():
            from coupling.parts_file import scan

            return len({record.prompt for record in scan(folder / PARTS)[0]})
        return len(list((folder / FORMER_PARTS).glob("prompt-*.nc")))
    return 0


def finished_run(folder: str | Path) -> Path:
    """The folder of a run, after checking that the run is finished.

    Args:
        folder: the folder that the run was saved in.

    Raises:
        CouplingError: if it is not a run, or an unfinished one.
    """
    folder = expanded(folder)
    name = clean(folder, 300)
    try:
        entries = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        raise CouplingError(f"there is no folder {name}; a run is a folder that coupling analyze wrote") from None
    except NotADirectoryError:
        raise CouplingError(f"{name} is a file; a run is a folder that coupling analyze wrote") from None
    except OSError as error:
        raise CouplingError(f"cannot read the folder {name}: {error.strerror or error}") from None
    if not {SUMMARY, DATA} <= entries:
        if STARTED in entries:
            raise CouplingError(
                f"the run in {name} is unfinished ({count_measured(folder)} {inputs_in(folder)} measured); repeat its "
                "command with `resume=True`"
            )
        is_model = "config.json" in entries or any(entry.endswith((".safetensors", ".gguf")) for entry in entries)
        hint = f"; it is a model, which is measured by: coupling analyze {name}" if is_model else ""
        if {"table.csv", SUMMARY} <= entries:
            hint = f"; it is a run of coupling rl, which is read by: coupling show {name}"
        raise CouplingError(f"{name} contains no run: there is no {SUMMARY} beside a {DATA}{hint}")
    return folder
