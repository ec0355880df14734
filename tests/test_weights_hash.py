"""The hash of the weights: it sees every change, and what earlier versions recorded can still be computed."""

import hashlib

import pytest
import torch
import transformers

from coupling import weights_hash as module
from coupling.weights_hash import checksum, weights_hash
from tests.helpers import GROUPED, make_model


def no_grad(parameter):
    with torch.no_grad():
        parameter[0, 0] += 1e-3


def data(parameter):
    parameter.data[0, 0] += 1e-3


def numpy(parameter):
    parameter.detach().numpy()[0, 0] += 1e-3


def replaced(parameter):
    changed = parameter.detach().clone()
    changed[0, 0] += 1e-3
    parameter.data = changed


def negative_zero(parameter):
    parameter.data[0, 0] = 0.0
    before = weights_hash_of_one(parameter)
    parameter.data[0, 0] = -0.0
    assert weights_hash_of_one(parameter) != before


def weights_hash_of_one(parameter):
    return module._xxh3({"w": parameter})


@pytest.mark.parametrize("change", [no_grad, data, numpy, replaced, negative_zero])
def test_one_changed_weight_is_seen_however_it_was_changed(change):
    model = make_model("llama")
    before = weights_hash(model)
    assert weights_hash(model) == before
    change(next(model.parameters()))
    assert weights_hash(model) != before


def test_two_exchanged_weights_and_a_renamed_parameter_are_seen():
    layer = torch.nn.Linear(4, 4)
    before = weights_hash(layer)
    layer.weight.data[0, [0, 1]] = layer.weight.data[0, [1, 0]]
    assert weights_hash(layer) != before
    other = torch.nn.Module()
    other.kernel, other.bias = layer.weight, layer.bias
    assert weights_hash(other) != weights_hash(layer)


def test_the_hash_does_not_depend_on_how_a_tensor_lies_in_memory():
    layer = torch.nn.Linear(4, 6)
    before = weights_hash(layer)
    layer.weight.data = layer.weight.data.T.contiguous().T
    assert not layer.weight.is_contiguous()
    assert weights_hash(layer) == before


def test_tied_weights_have_the_hash_of_their_copies():
    config = transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config)
    before = weights_hash(model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert weights_hash(model) == before


def test_the_hash_of_earlier_versions_can_be_computed():
    layer = torch.nn.Linear(3, 2)
    expected = hashlib.sha256()
    for name, tensor in sorted(layer.state_dict().items()):
        expected.update(f"{name} torch.float32 {tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    assert weights_hash(layer, "sha256") == expected.hexdigest()
    assert weights_hash(layer).startswith("xxh3-128:")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
@pytest.mark.parametrize("size", [1, 7, 8, 1000])
def test_the_checksum_sees_every_single_bit_and_every_exchange(dtype, size):
    tensor = torch.arange(1, size + 1).to(dtype)
    before = checksum(tensor)
    assert checksum(tensor.clone()) == before
    raw = tensor.view(torch.uint8)
    for index in torch.randint(0, len(raw), (20,), generator=torch.Generator().manual_seed(0)).tolist():
        raw[index] ^= 64
        assert checksum(tensor) != before
        raw[index] ^= 64
    if size > 1:
        exchanged = tensor.clone()
        exchanged[[0, size - 1]] = exchanged[[size - 1, 0]]
        assert checksum(exchanged) != before


def test_the_checksum_is_the_same_in_chunks(monkeypatch):
    tensor = torch.randn(1001)
    whole = checksum(tensor)
    monkeypatch.setattr(module, "CHUNK", 64)
    assert checksum(tensor) == whole


def test_weights_on_a_device_are_copied_once_and_again_after_a_change(monkeypatch):
    """Tensors that say that they are elsewhere stand in for an accelerator."""
    layer, copies = torch.nn.Linear(8, 8), []

    class Elsewhere(torch.Tensor):
        device = torch.device("cuda")

    def state(model):
        return {name: tensor.detach().as_subclass(Elsewhere) for name, tensor in model.named_parameters()}

    def copied(tensors):
        copies.append(1)
        return original({name: tensor.as_subclass(torch.Tensor) for name, tensor in tensors.items()})

    original, expected = module._xxh3, weights_hash(layer)
    monkeypatch.setattr(module, "_state", state)
    monkeypatch.setattr(module, "_xxh3", copied)
    monkeypatch.setattr(module, "checksum", lambda tensor: checksum(tensor.as_subclass(torch.Tensor)))
    assert weights_hash(layer) == weights_hash(layer) == expected
    assert len(copies) == 1
    layer.weight.data[3, 3] += 1e-3  # no version counter of the parameter sees this
    assert weights_hash(layer) != expected
    assert len(copies) == 2
