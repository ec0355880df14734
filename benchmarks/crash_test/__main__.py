"""Try what is promised of runs: ``python -m benchmarks.crash_test``, or ``make crash-test``."""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

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
    kills = resumes = inputs = 0
    tried: dict[str, int] = {}
    before = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            if chosen.step:
                from benchmarks.crash_test.operations import all_kills

                operations = sum(all_kills(place, chosen.step).values())
                kills, resumes, tried["operations"] = kills + operations, resumes + operations, operations
                print(f"file operations of a run's folder: {operations} kills, each resumed or overwritten", flush=True)
            if chosen.analyze or chosen.inputs:
                from benchmarks.crash_test import analyze

                analyze.prepare(place)
                if chosen.analyze:
                    figures = analyze.kill_and_resume(place, chosen.analyze, chosen.seed)
                    kills, resumes, tried["analyze"] = kills + figures.kills, resumes + figures.resumes, figures.kills
                    print(f"coupling analyze: {figures.kills} kills, {figures.resumes} resumes", flush=True)
                if chosen.inputs:
                    inputs = analyze.damaged_files(place, chosen.inputs, chosen.seed).inputs
                    print(f"damaged files: {inputs} tried, each ended in a result or in one line", flush=True)
            if chosen.rl:
                from benchmarks.crash_test import rl

                (place / "rl").mkdir()
                figures = rl.kill_and_resume(place / "rl", chosen.rl, chosen.seed)
                kills, resumes, tried["rl"] = kills + figures.kills, resumes + figures.resumes, figures.kills
                print(f"coupling rl: {figures.kills} kills, {figures.resumes} resumes", flush=True)
            if chosen.sweep:
                from benchmarks.crash_test import sweep

                (place / "sweep").mkdir()
                figures = sweep.kill_and_resume(place / "sweep", chosen.sweep, chosen.seed)
                kills, resumes, tried["sweep"] = kills + figures.kills, resumes + figures.resumes, figures.kills
                print(f"coupling sweep: {figures.kills} kills, {figures.resumes} resumes", flush=True)
    except RuntimeError as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    minutes = (time.monotonic() - before) / 60
    print(f"{kills} kills, {resumes} resumes, {inputs} inputs tried in {minutes:.1f} minutes: nothing lost")
    if chosen.out:
        figures_of_all = {"kills": kills, "resumes": resumes, "inputs": inputs, "minutes": round(minutes, 1)}
        chosen.out.write_text(json.dumps(figures_of_all | {"kills_of": tried}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
