"""Fixtures that only the tests of figures share."""

import numpy as np
import pytest

import coupling
from coupling.models.loading import load
from coupling.models.tokenization import tokenize


@pytest.fixture(scope="session")
def recording(run):
    """The model's pass over the first prompt of ``run``."""
    checkpoint = load()
    inputs = tokenize(checkpoint, [str(run.prompt_text.values[0])])[0]
    return coupling.record(checkpoint.model, inputs)


@pytest.fixture(scope="session")
def jacobians(recording):
    """Dense Jacobians of the first prompt's last token, one per block."""
    last = recording.n_tokens - 1
    return [recording.jacobian(block, last, last).to_dense().double().numpy() for block in range(recording.n_blocks)]


@pytest.fixture(scope="session")
def decompositions(jacobians):
    """The full singular value decompositions of ``jacobians``."""
    return [np.linalg.svd(jacobian) for jacobian in jacobians]


@pytest.fixture(scope="session")
def all_tokens_run():
    """A run of kind depth that measured all tokens of two prompts of different lengths."""
    return coupling.analyze(prompts=["a = 1", "def f(x, y):\n    return x + y"], k=3, tokens="all")


@pytest.fixture(scope="session")
def pairs_run():
    """A run that compares tokens at two pairs of blocks that begin with the same block."""
    return coupling.analyze(prompts=["for name in names:"], k=2, kind="self", block_pairs=((2, 5), (2, 6)))
