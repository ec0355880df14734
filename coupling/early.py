"""What can be checked of an analysis before PyTorch is loaded: its folders and files, in a fraction of a second.

The same checks are made again where the files are read; here they only come first.
"""

from pathlib import Path

from coupling.errors import CouplingError
from coupling.models.folder import check_checkpoint_folder, is_local
from coupling.untrusted import clean, expanded

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
"""How the name of a picture's file may end."""


def check_early(
    model: str | None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    weights: bool = True,
    allow_pickle: bool = False,
) -> None:
    """Check that a local model is there and complete, and that a run may be written to a folder.

    Args:
        model: as ``coupling.analyze`` takes it; names of the hub are not checked.
        out: the run's folder.
        overwrite: see ``coupling.analyze``.
        resume: see ``coupling.analyze``.
        weights: whether the weights are needed.
        allow_pickle: see ``coupling.analyze``.

    Raises:
        CouplingError: if a folder or file is missing or cannot be used.
    """
    if out is not None:
        from coupling.run_files import check_run_folder

        check_run_folder(expanded(out), overwrite=overwrite, resume=resume)
    if model and "\0" not in model and not model.startswith("timm:") and is_local(model):
        check_checkpoint_folder(expanded(model), model, weights=weights, allow_pickle=allow_pickle)


def check_table(path: Path, picture: str) -> None:
    """Check that the table of a picture is there; for rl also a folder of ``coupling rl``.

    Args:
        path: the file or the folder.
        picture: one of ``coupling.choices.TABLE_PICTURES``.

    Raises:
        CouplingError: if there is none.
    """
    path = expanded(path)
    if picture == "rl" and (path / "table.csv").is_file():
        return
    folders = {"rl": " or the folder of a `coupling rl` run", "dynamics": " or folders of runs"}
    source = f"the picture {picture} is drawn from a .csv table{folders.get(picture, '')}"
    if path.is_dir():
        raise CouplingError(f"{clean(path, 300)} is a folder; {source}")
    if not path.exists():
        raise CouplingError(f"there is no file {clean(path, 300)}; {source}")


def check_picture_name(path: Path) -> None:
    """Check that a picture's file name has a suffix that decides the format.

    Args:
        path: the file that will be written.

    Raises:
        CouplingError: if the suffix is none of ``PICTURE_SUFFIXES``.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        listed = ", ".join(PICTURE_SUFFIXES)
        raise CouplingError(f"{clean(path, 300)} must end in {listed}: its suffix decides the picture's format")
