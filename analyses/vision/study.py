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
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np

from coupling.analyses.sweep import sweep
from coupling.analyses.sweep.status import Status
from coupling.analyses.vision.design import Training, trainings
from coupling.analyses.vision.pool import DIGITS, data_of, train_all
from coupling.analyses.vision.results import write_results
from coupling.analyses.vision.training import RECORD
from coupling.errors import CouplingError, require
from coupling.files import load_json, to_json, write_atomically
from coupling.locking import locked
from coupling.models.chat import PromptWarning
from coupling.programs import errors_in_one_line, quiet_libraries

MODELS, SWEEP, IMAGES, IDENTITY = "models", "sweep", "held-out.npy", "vision.json"
"""What is in a study's folder beside the results: the models, the sweep, the measured images, and whose study it is."""
K = (6, 10)
"""A tenth of the models' width, as in the paper, and the K of this project's other studies."""
MEASURED = 100
"""Held-out images that every model is measured on."""
LINES = 12
"""Lines of progress while the models are measured."""


def run_study(
    out: str | Path,
    everything: Sequence[Training] | None = None,
    *,
    source: str = DIGITS,
    workers: int = 2,
    measured: int = MEASURED,
) -> None:
    """Train and measure what is missing, then write the tables and the pictures; progress is printed on stderr.

    Args:
        out: the study's folder.
        everything: the trainings; default: all of ``trainings()``.
        source: "digits", or a folder with CIFAR-10 (see ``coupling.analyses.vision.data.cifar10``).
        workers: processes side by side, with one thread each.
        measured: how many held-out images every model is measured on.

    Raises:
        CouplingError: if a package is missing, the data cannot be read, the folder contains a study of other data, a
            training diverges, or a model cannot be measured.
    """
    require("timm", "torchvision", "statsmodels", purpose="the study of vision transformers")
    if workers < 1:
        raise CouplingError(f"`workers` is {workers}, but must be at least 1")
    listed = trainings() if everything is None else list(everything)
    folder = Path(out).expanduser().resolve()
    data = data_of(source)
    with locked(folder):
        _check_identity(folder, {"data": data.name, "measured": measured})
        train_study(folder, listed, source, workers)
        write_array(folder / IMAGES, data.held_out_images[:measured])
        measure_study(folder, listed, workers)
        write_results(folder, folder / MODELS, folder / SWEEP, listed)


def _check_identity(folder: Path, identity: dict[str, Any]) -> None:
    """Note whose study a folder contains, or check that it is the same."""
    path = folder / IDENTITY
    if not path.exists():
        write_atomically(path, to_json(identity))
    elif load_json(path) != identity:
        earlier = load_json(path)
        differing = ", ".join(f"{key}: {earlier.get(key)!r} there, {identity[key]!r} now" for key in identity)
        raise CouplingError(f"{folder} contains a study of something else ({differing}); give another `out`")


def train_study(out: Path, everything: Sequence[Training], source: str, workers: int) -> None:
    """Train what is missing, with one line per model on stderr.

    Args:
        out: the study's folder.
        everything: the trainings.
        source: see ``run_study``.
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
        _say(
            f"[{len(everything) - len(missing) + done}/{len(everything)}] {Training.of(result).name}: test accuracy "
            f"{result['test_accuracy']:.4f}; about {left / 60:.0f} min left for training"
        )

    if missing:
        train_all(missing, out / MODELS, source, workers, report)


def measure_study(out: Path, everything: Sequence[Training], workers: int) -> None:
    """Measure the models that have not been measured, by a sweep.

    Args:
        out: the study's folder.
        everything: the trainings, which are finished.
        workers: processes that measure side by side.

    Raises:
        CouplingError: if a model cannot be measured.
    """
    study = {
        "models": [str(out / MODELS / training.name) for training in everything],
        "images": str(out / IMAGES),
        "k": list(K),
        "device": "cpu",
        "detail": "none",
    }
    said = 0

    def report(status: Status) -> None:
        nonlocal said
        done = status.counts["done"]
        if done * LINES // status.total > said:
            said = done * LINES // status.total
            left = "" if status.seconds_left is None else f"; about {status.seconds_left / 60:.0f} min left"
            _say(f"{done} of {status.total} models are measured{left}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)  # gray images become RGB, and gray again for a gray model
        table = sweep(study, out=out / SWEEP, workers=workers, threads=1, progress=report)
    failed = table[table["state"] != "done"]
    if len(failed):
        raise CouplingError(f"{failed['task'].iloc[0]} was not measured: {failed['error'].iloc[0]}")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, atomically."""
    buffer = BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run what is missing, as the options say."""
    parser = argparse.ArgumentParser(
        prog="python -m coupling.analyses.vision", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models, runs, the tables and the pictures")
    parser.add_argument("--cifar10", type=Path, help="folder with cifar-10-batches-py; default: handwritten digits")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side; default: 2")
    options = parser.parse_args()
    quiet_libraries()
    with errors_in_one_line():
        run_study(options.out, source=str(options.cifar10 or DIGITS), workers=options.workers)
    print(f"the tables and the pictures are in {options.out}")
