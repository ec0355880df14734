"""The longest prompt that a checkpoint accepts."""

import pytest
import torch
import transformers

from coupling.models.checkpoint import Checkpoint
from coupling.models.loading import load

SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


@pytest.mark.parametrize(("family", "usable"), [("XLMRoberta", 16), ("Roberta", 16), ("Bert", 18)])
def test_positions_that_are_counted_from_the_padding_on(family, usable):
    """Models like RoBERTa cannot use the positions up to the padding's index."""
    config = getattr(transformers, f"{family}Config")(**SIZES, max_position_embeddings=18)
    model = getattr(transformers, f"{family}Model")(config).eval()
    assert Checkpoint(model, load().tokenizer, "model", "").context == usable
    ids = torch.arange(3, 3 + usable)[None]
    model(ids)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.arange(3, 4 + usable)[None])
