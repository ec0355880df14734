"""What can be checked of an analysis before PyTorch is loaded: its folders and files, in a fraction of a second.

The same checks are made again where the files are read; here they only come first.
"""

from pathlib import Path

from coupling.models.folder import check_checkpoint_folder, is_local
from coupling.untrusted import expanded


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
        from coupling.run_folder import check_run_folder

        check_run_folder(expanded(out), overwrite=overwrite, resume=resume)
    if model and "\0" not in model and not model.startswith("timm:") and is_local(model):
        check_checkpoint_folder(expanded(model), model, weights=weights, allow_pickle=allow_pickle)
