"""Blocks on disk: which they are, where their weights are, and what is in memory."""

import pytest
import torch
import transformers

from coupling.errors import CouplingError
from coupling.models.loading import load
from coupling.models.offloading import device_map, offloaded_names
from coupling.weights_hash import weights_hash
from tests.streaming import write_checkpoint


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("llama"), "llama", dtype=torch.bfloat16, max_shard_size="40KB")


@pytest.fixture
def checkpoint(llama):
    loaded = load(str(llama), stream=True)
    yield loaded
    loaded.offloaded.close()


def in_memory(checkpoint):
    return [all(p.device.type == "cpu" for p in block.parameters()) for block in checkpoint.model.layers]


def test_one_block_is_in_memory_and_equal_to_that_of_the_whole_model(llama, checkpoint):
    whole = load(str(llama)).model
    assert in_memory(checkpoint) == [False] * 3
    for index, block in enumerate(checkpoint.offloaded.modules):
        checkpoint.offloaded.load(block)
        assert in_memory(checkpoint) == [other == index for other in range(3)]
        expected = whole.layers[index].state_dict()
        found = block.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) and found[key].dtype == torch.float32 for key in found)
    checkpoint.offloaded.load(block)
    assert list(checkpoint.offloaded.reads.values()) == [1, 1, 1]
    checkpoint.offloaded.release()
    assert in_memory(checkpoint) == [False] * 3


def test_the_next_block_is_read_once_in_advance(checkpoint):
    offloaded = checkpoint.offloaded
    first, second, third = offloaded.modules
    offloaded.load(first)
    offloaded.prefetch(second)
    offloaded.prefetch(second)
    offloaded.load(second)
    offloaded.prefetch(third)
    offloaded.prefetch(first)  # another is needed after all
    offloaded.load(first)
    assert list(offloaded.reads.values()) == [2, 1, 0]


def test_the_hash_is_that_of_the_whole_model(llama, checkpoint):
    assert checkpoint.offloaded.checked_hash() == weights_hash(load(str(llama)).model)


def test_the_size_on_disk_is_that_of_the_blocks(llama, checkpoint):
    numbers = sum(p.numel() for p in load(str(llama)).model.layers.parameters())
    assert checkpoint.offloaded.stored_bytes == 2 * numbers


def test_no_hook_of_accelerate_stays(checkpoint):
    for module in checkpoint.model.modules():
        assert not hasattr(module, "_hf_hook")
        assert "forward" not in vars(module)


def test_every_list_of_blocks_stays_on_disk():
    with torch.device("meta"):
        model = transformers.T5Model(transformers.T5Config(num_layers=2))
    names = offloaded_names(model, list(model.decoder.block))
    assert names == ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"]
    places = device_map(model, names, "cpu")
    assert {name for name, place in places.items() if place == "disk"} == set(names)
    assert places["encoder.final_layer_norm"] == places["shared"] == "cpu"
    assert "encoder" not in places


def test_blocks_that_are_no_list_are_refused():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(CouplingError, match="not one list"):
        offloaded_names(model, [model[0]])
