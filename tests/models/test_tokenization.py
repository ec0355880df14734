"""Token ids from texts, and from every form that users have."""

import numpy as np
import pytest
import torch

import coupling
from coupling.models.loading import load
from coupling.models.tokenization import piece_texts, split_inputs
from tests.helpers import TOKENS, make_ids, make_model


def test_inputs_of_every_form():
    ids = make_ids()
    assert [p["input_ids"].shape for p in split_inputs(ids[0])] == [(1, TOKENS)]
    assert len(split_inputs(torch.cat([ids, ids]))) == 2
    assert len(split_inputs([{"input_ids": ids}, ids])) == 2
    assert [p["input_ids"].shape for p in split_inputs([3, 4, 5])] == [(1, 3)]
    assert [p["input_ids"].shape for p in split_inputs([[3, 4, 5], [3, 4]])] == [(1, 3), (1, 2)]
    assert [p["input_ids"].shape for p in split_inputs(ids.numpy())] == [(1, TOKENS)]
    with pytest.raises(coupling.CouplingError, match="are text; tokenize"):
        split_inputs(["hello"])
    with pytest.raises(coupling.CouplingError, match="no tokens"):
        split_inputs(torch.zeros(1, 0, dtype=torch.int64))
    with pytest.raises(coupling.CouplingError, match="no prompts"):
        split_inputs([])
    with pytest.raises(coupling.CouplingError, match="no tensors"):
        split_inputs({"input_ids": [[1, 2]]})


def test_padding_is_taken_off():
    model, ids = make_model("llama"), make_ids(0, 6)
    padded = {
        "input_ids": torch.cat([torch.full((1, 3), 2), ids], 1),
        "attention_mask": torch.tensor([[0] * 3 + [1] * 6]),
    }
    assert np.array_equal(coupling.measure(model, padded, k=2).mismatch, coupling.measure(model, ids, k=2).mismatch)


def test_parts_of_a_character_are_written_by_their_bytes():
    tokenizer = load().tokenizer
    ids = tokenizer("é 東")["input_ids"]
    texts = piece_texts(tokenizer, ids)
    assert "\ufffd" not in "".join(texts)
    named = "".join(texts).replace("<0x", " ").replace(">", " ").split()
    assert "".join(named).lower().endswith("東".encode().hex())

    class SentencePiece:
        def convert_ids_to_tokens(self, ids):
            return ["<0xE4>", "\u2581the"]

        def convert_tokens_to_string(self, pieces):
            return {"<0xE4>": "\ufffd", "\u2581the": "the"}[pieces[0]]

    assert piece_texts(SentencePiece(), [0, 1]) == ["<0xE4>", "the"]
