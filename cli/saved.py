"""What ``coupling analyze`` and ``coupling rl`` say of what they have saved."""

from pathlib import Path
from typing import Any


def resume_hint(folder: Path | None) -> str:
    """How an interrupted run is continued; empty where nothing was measured."""
    if folder is None or not folder.exists():
        return ""
    from coupling.run_files import STREAMED, count_measured, inputs_in

    kept = count_measured(folder)
    if not kept and not (folder / STREAMED).exists():
        return ""
    what = f"{kept} {inputs_in(folder)} are" if kept else "what was measured is"
    return f"; {what} saved, continue with the same command and --out {folder} --resume"


def rl_interrupted(out: Path) -> str:
    """That a run of ``coupling rl`` was interrupted, and how it is continued; empty but in the main process."""
    from coupling.analyses.rl.processes import is_main_process
    from coupling.analyses.rl.resume import can_continue

    if not is_main_process():
        return ""
    table = f"; the table of the steps before it is in {out}" if (out / "table.csv").exists() else ""
    more = f"; continue with the same command and --out {out} --resume" if can_continue(out) else ""
    return f"interrupted{table}{more}\n"


def detail_note(run: Any) -> str:
    """The size of the pictures' data, and which prompts or images have it."""
    from coupling.dataset import DETAIL_VARIABLES, input_word

    size = sum(run[name].nbytes for name in DETAIL_VARIABLES if name in run)
    with_detail, prompts = run.sizes.get("detailed_prompt", 0), run.sizes["prompt"]
    which = "" if with_detail in (0, prompts) else f"the first {with_detail} of {prompts} {input_word(run)}s, "
    return f" ({which}{size / 1e6:.1f} MB of it for the pictures grid and trajectory)" if with_detail else ""
