"""Try what is promised of runs: ``python -m benchmarks.crash_test``, or ``make crash-test``."""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.crash_test.commands import Figures

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(arguments: list[str] | None = None) -> int:
    """Kill, resume and damage; print the figures. The exit status is 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="crash_test", description="Try what is promised of runs.")
    parser.add_argument("--analyze", type=int, default=200, help="kills of coupling analyze at random moments")
    parser.add_argument("--rl", type=int, default=40, help="kills of coupling rl at random moments")
    parser.add_argument("--sweep", type=int, default=40, help="kills of coupling sweep and its workers")
    parser.add_argument("--inputs", type=int, default=200, help="damaged files")
    parser.add_argument("--step", type=int, default=1, help="kill at every n-th file operation; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    chosen = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    before = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as name:
            tried = try_all(Path(name), chosen)
    except RuntimeError as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    minutes = (time.monotonic() - before) / 60
    total = {count: sum(getattr(one, count) for one in tried.values()) for count in ("kills", "resumes", "inputs")}
    print("{kills} kills, {resumes} resumes, {inputs} inputs tried".format(**total), end="")
    print(f" in {minutes:.1f} minutes: nothing lost")
    if chosen.out:
        kills_of = {name: one.kills for name, one in tried.items() if one.kills}
        chosen.out.write_text(json.dumps(total | {"minutes": round(minutes, 1), "kills_of": kills_of}, indent=1) + "\n")
    return 0


def try_all(place: Path, chosen: argparse.Namespace) -> dict[str, "Figures"]:
    """Make every trial that was chosen, and print one line after each.

    Args:
        place: an empty folder.
        chosen: the arguments of the command line.

    Returns:
        What was tried, by the name of the trial.

    Raises:
        RuntimeError: if a promise is broken.
    """
    from benchmarks.crash_test import analyze, operations, rl, sweep
    from benchmarks.crash_test.commands import Figures

    tried: dict[str, Figures] = {}
    if chosen.step:
        kills = sum(operations.all_kills(place, chosen.step).values())
        tried["operations"] = Figures(kills, kills)
        print(f"file operations of a run's folder: {kills} kills, each resumed or overwritten", flush=True)
    if chosen.analyze or chosen.inputs:
        analyze.prepare(place)
    if chosen.analyze:
        tried["analyze"] = _said("analyze", analyze.kill_and_resume(place, chosen.analyze, chosen.seed))
    if chosen.inputs:
        tried["inputs"] = analyze.damaged_files(place, chosen.inputs, chosen.seed)
        print(f"damaged files: {tried['inputs'].inputs} tried, each ended in a result or in one line", flush=True)
    for name, trial, count in (("rl", rl, chosen.rl), ("sweep", sweep, chosen.sweep)):
        if count:
            (place / name).mkdir()
            tried[name] = _said(name, trial.kill_and_resume(place / name, count, chosen.seed))
    return tried


def _said(command: str, figures: "Figures") -> "Figures":
    print(f"coupling {command}: {figures.kills} kills, {figures.resumes} resumes", flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
