"""The runs of a study, for commands that read runs."""

from collections.abc import Sequence
from pathlib import Path

from coupling.analyses.sweep.records import is_complete
from coupling.analyses.sweep.study_folder import StudyFolder, is_study
from coupling.errors import CouplingError


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
        place = StudyFolder(folder)
        runs = [place.run(task.name) for task in place.tasks()]
        finished = [run for run in runs if is_complete(run)]
        if not finished:
            raise CouplingError(
                f"the study {folder} has no finished run yet; coupling status {folder} shows how far it is"
            )
        found += finished
    return found
