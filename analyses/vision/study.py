"""Do stochastic depth and accuracy go with coupling in vision transformers? Train, measure, and compute.

Run it as ``python -m coupling.analyses.vision --out FOLDER``. It trains small vision transformers on scikit-learn's
handwritten digits: every combination of four stochastic-depth rates, two weight decays, two depths and two training
lengths, with three seeds each. It measures each on images that it did not see, by a sweep, and correlates the measures
with accuracy. If it is stopped, the same command continues it with the first model that is missing.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from coupling.analyses.vision.design import Training, trainings
from coupling.analyses.vision.pool import DIGITS, train_all
from coupling.analyses.vision.training import RECORD
from coupling.errors import CouplingError

MODELS, SWEEP = "models", "sweep"
"""The folders of the models and of the sweep inside a study's folder."""


def train_study(out: Path, everything: Sequence[Training], source: str, workers: int) -> None:
    """Train what is missing, with one line per model on stderr.

    Args:
        out: the study's folder.
        everything: the trainings.
        source: ``digits``, or a folder with CIFAR-10.
        workers: processes that train side by side.

    Raises:
        CouplingError: if a training fails.
    """
    missing = [training for training in everything if not (out / MODELS / training.name / RECORD).exists()]
    began = time.perf_counter()
    done = 0

    def report(result: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        left = (time.perf_counter() - began) / done * (len(missing) - done)
        print(
            f"[{len(everything) - len(missing) + done}/{len(everything)}] {Training.of(result).name}: test accuracy "
            f"{result['test_accuracy']:.4f}; about {left / 60:.0f} min left for training",
            file=sys.stderr,
            flush=True,
        )

    if missing:
        train_all(missing, out / MODELS, source, workers, report)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m coupling.analyses.vision", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models, runs, the tables and the pictures")
    parser.add_argument("--cifar10", type=Path, help="folder with cifar-10-batches-py; default: handwritten digits")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side; default: 2")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    out: Path = options.out.resolve()
    try:
        train_study(out, trainings(), str(options.cifar10 or DIGITS), options.workers)
    except KeyboardInterrupt:
        print("interrupted; continue with the same command", file=sys.stderr)
        sys.exit(130)
    except CouplingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
