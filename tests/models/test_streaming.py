"""Passes that wait before every block: the model's own forward, block by block for several prompts."""

import pytest
import torch

from coupling.errors import CouplingError
from coupling.models import attention
from coupling.models.recording import record_blocks
from coupling.models.streaming import PromptPass, stopping
from tests.helpers import make_ids, make_model


def passes(model, ids):
    return [PromptPass(model, list(model.layers), {"input_ids": one}, attention.Tape()) for one in ids]


def test_every_block_is_given_and_returns_what_it_does_in_one_pass():
    model, ids = make_model("llama"), [make_ids(0), make_ids(1, tokens=5)]
    expected = [record_blocks(model, list(model.layers), {"input_ids": one}).trajectory for one in ids]
    with attention.implementation(model, attention.NAME), stopping(list(model.layers)):
        walks = passes(model, ids)
        for walk in walks:
            walk.start()
        for block in range(3):
            for walk, trajectory in zip(walks, expected, strict=True):
                stop = walk.stop
                assert (stop.position, stop.block, stop.module) == (block, block, model.layers[block])
                assert torch.equal(stop.stream[0], trajectory[block])
                passed = walk.proceed()
                assert torch.equal(passed.output[0], trajectory[block + 1])
                assert not passed.changed_arguments
                assert torch.is_grad_enabled()
        assert all(walk.stop is None and len(walk.tape.attended) == 3 for walk in walks)
    assert "forward" not in vars(model.layers[0])


def test_a_saved_result_stands_for_a_block():
    model = make_model("llama")
    with attention.implementation(model, attention.NAME), stopping(list(model.layers)):
        (first,) = passes(model, [make_ids()])
        first.start()
        results = []
        while first.stop is not None:
            results.append(first.proceed().result)
        (second,) = passes(model, [make_ids()])
        second.start()
        second.proceed(results[0])
        assert torch.equal(second.stop.stream, results[0])
        assert torch.equal(second.proceed().result, results[1])
        second.close()
        assert second.stop is None
    assert torch.is_grad_enabled()


def test_errors_of_the_pass_are_those_of_a_recording():
    model = make_model("gpt2")
    with attention.implementation(model, attention.NAME), stopping(list(model.h)):
        walk = PromptPass(model, list(model.h), {"input_ids": torch.tensor([[10**6]])}, attention.Tape())
        with pytest.raises(CouplingError, match="beyond the model's embedding table"):
            walk.start()
        other = PromptPass(model, [torch.nn.Linear(2, 2)], {"input_ids": make_ids()}, attention.Tape())
        other.start()
        other.proceed()
        other.proceed()
        with pytest.raises(CouplingError, match="were not called"):
            other.proceed()


def test_whatever_a_model_raises_is_one_line_and_a_fault_of_ours_is_not(monkeypatch):
    model = make_model("llama")
    (one,) = passes(model, [make_ids()])
    with monkeypatch.context() as patch:
        patch.setattr(type(model.embed_tokens), "forward", lambda self, ids: {}["embeddings"])
        with pytest.raises(CouplingError, match="the forward pass of LlamaModel fails: KeyError: 'embeddings'"):
            one.start()
    monkeypatch.delattr("coupling.models.streaming.batch_of")
    with pytest.raises(NameError, match="batch_of"):
        passes(model, [make_ids()])[0].start()
