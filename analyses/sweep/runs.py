"""The runs of a study, for commands that read runs."""

from collections.abc import Sequence
from pathlib import Path

from coupling.errors import CouplingError
from coupling.run_files import finished_run

STUDY = "study.json"
"""The file that makes a folder one of a study; ``coupling.analyses.sweep.study_folder`` writes it."""


def is_study(folder: str | Path) -> bool:
    """Whether a folder is that of a study."""
    return (Path(folder).expanduser() / STUDY).is_file()


def runs_of(folders: Sequence[str | Path]) -> list[Path]:
    """The given folders, with each study replaced by its finished runs.

    Args:
        folders: runs and studies.

    Raises:
        CouplingError: if no run of a study is finished.
    """
    found: list[Path] = []
    for folder in folders:
        if not is_study(folder):
            found.append(Path(folder))
            continue
        from coupling.analyses.sweep.records import is_complete
        from coupling.analyses.sweep.study_folder import StudyFolder

        place = StudyFolder(folder)
        runs = [place.run(task.name) for task in place.tasks()]
        finished = [run for run in runs if is_complete(run)]
        if not finished:
            raise CouplingError(
                f"the study {folder} has no finished run yet; coupling status {folder} shows how far it is"
            )
        found += finished
    return found


def checked_runs(folders: Sequence[str | Path]) -> list[Path]:
    """The runs that ``runs_of`` finds, after checking that each is finished; nothing of them is read.

    Args:
        folders: runs and studies.

    Raises:
        CouplingError: if a folder is not a run, or the run is unfinished.
    """
    return [finished_run(folder) for folder in runs_of(folders)]
