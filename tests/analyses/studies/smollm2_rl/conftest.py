"""A tiny model with one token per character, whose probabilities can be computed in another way."""

import pytest

from coupling.analyses.rl.warm_start import _make_model, character_tokenizer


@pytest.fixture
def tiny():
    """The model and its tokenizer; a space is a token that it does not know."""
    tokenizer = character_tokenizer()
    return _make_model(tokenizer, 3), tokenizer
