"""Runs of checkpoints that look like those of a study, made from one measured run."""

import pytest

import coupling
from coupling.run_folder import RunFolder

STEPS = (0, 1, 8, 64)


@pytest.fixture(scope="session")
def measured():
    return coupling.analyze(prompts=["import os", "def main():"], k=(3, 5), detail="none")


def changed(run, factor):
    """A run whose mismatches are scaled."""
    result = run.copy()
    result["mismatch"] = run["mismatch"] * factor
    return result


@pytest.fixture(scope="session")
def study(measured, tmp_path_factory):
    """A folder of runs: two seeds of one model, four checkpoints each; coupling rises from step 1 to step 8."""
    folder = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        for step, factor in zip(STEPS, (1.0, 1.0, 0.9, 0.9 - 0.001 * seed), strict=True):
            run = changed(measured, factor)
            run.attrs |= {"model": f"/models/small-seed{seed}/checkpoint-{step}", "revision": ""}
            RunFolder(folder / "runs" / f"{seed}-{step}", {}).finish(run, {})
    return folder
