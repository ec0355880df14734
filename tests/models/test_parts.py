"""The halves of encoder-decoder models; tests/models/test_loading.py measures them."""

import pytest
import torch
import transformers
from torch import nn

from coupling.errors import CouplingError
from coupling.models.parts import decoder_inputs, part_list

SMALL = {"vocab_size": 97, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip


def test_the_lists_of_blocks():
    bart = transformers.BartForConditionalGeneration(transformers.BartConfig(**SMALL))
    assert part_list(bart, "encoder") == "model.encoder.layers"
    assert part_list(bart, "decoder") == "model.decoder.layers"
    with pytest.raises(CouplingError, match=r"which list contains the blocks of the decoder .* `block_list`"):
        part_list(nn.ModuleDict({"encoder": nn.ModuleList([nn.Linear(2, 2)])}), "decoder")


def test_the_decoder_reads_what_it_reads_in_training():
    model = transformers.BartForConditionalGeneration(transformers.BartConfig(**SMALL))
    ids = torch.tensor([[5, 6, 7]])
    start = model.config.decoder_start_token_id
    expected = model.prepare_decoder_input_ids_from_labels(ids)
    assert torch.equal(decoder_inputs(model, "model.decoder.layers", ids), expected)
    assert decoder_inputs(model, "model.encoder.layers", ids).tolist() == [[start]]
