"""Small data for the study of vision transformers."""

from dataclasses import replace

import numpy as np
import pytest

from coupling.analyses.vision.data import digits
from coupling.analyses.vision.design import Training


@pytest.fixture(scope="session")
def data():
    """A part of the digits."""
    whole = digits()
    return replace(
        whole,
        images=whole.images[:128],
        labels=whole.labels[:128],
        held_out_images=whole.held_out_images[:64],
        held_out_labels=whole.held_out_labels[:64],
    )


@pytest.fixture
def training():
    return Training(0.4, 0.5, 2, 1, 0)


def make_table(seed=0, seeds=3, slope=0.5):
    """The table of a study in which excess rises with the rate, and accuracy with the excess."""
    import pandas as pd

    from coupling.analyses.vision.design import trainings

    generator = np.random.default_rng(seed)
    rows = []
    for one in trainings(seeds=tuple(range(seeds))):
        excess = slope * one.stochastic_depth + 0.1 * one.weight_decay + generator.normal(scale=0.02)
        accuracy = 0.8 + 0.2 * excess + 0.001 * one.epochs + generator.normal(scale=0.002)
        fields = one.as_dict() | {"model": one.name, "parameters": 50_000 * one.depth}
        fields |= {"train_accuracy": accuracy, "train_loss": 1.0, "test_accuracy": accuracy, "test_loss": 1.0}
        measures = {"excess K=6 p=2": excess / 2, "excess K=10 p=2": excess, "line-shape score": 2.0}
        rows.append(fields | measures | {"expodistance": generator.normal()})
    columns = ["model", "stochastic_depth", "weight_decay", "depth", "epochs", "seed", "parameters"]
    return pd.DataFrame(rows)[columns + [name for name in rows[0] if name not in columns]]


@pytest.fixture(scope="session")
def table():
    return make_table()
