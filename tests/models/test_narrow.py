"""Half-precision blocks in memory: one at a time is widened, and every number is that of the widened model."""

import gc
import weakref

import pytest
import torch
from torch import nn

import coupling
from coupling.models import narrow
from coupling.models.loading import load
from coupling.models.narrow import Narrow, narrow_of
from coupling.netcdf import to_bytes
from coupling.weights_hash import weights_hash
from tests.helpers import make_ids, make_model
from tests.streaming import PROMPTS, assert_equal_to_rounding, write_checkpoint

SETTINGS = {
    "depth": {},
    "together": {"prompts": ["x = 5", "y = 6", "z = 7"], "batch_size": 3},
    "recorded together": {"prompts": [f"import {name}" for name in ("self", "data", "name", "list", "text", "file")]},
    "self": {"kind": "self"},
    "matrix-free": {"engine": "matrix-free"},
    "context": {"kind": "context-input"},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Checkpoints of any size are narrowed."""
    monkeypatch.setattr(narrow, "FEWEST", 0)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("llama"), "llama", dtype=torch.bfloat16, max_shard_size="40KB")


def widened(folder, monkeypatch, **options):
    """The run of the model that is widened as a whole."""
    with monkeypatch.context() as patch:
        patch.setattr(narrow, "FEWEST", 2**62)
        return coupling.analyze(str(folder), **options)


def dtypes(module):
    return {parameter.dtype for parameter in module.parameters()}


def test_blocks_stay_as_they_are_stored_and_one_is_widened_when_it_is_called(llama):
    model = load(str(llama), narrow=True).model
    whole = load(str(llama)).model
    assert narrow_of(whole) is None
    assert [dtypes(block) for block in model.layers] == [{torch.bfloat16}] * 3
    assert dtypes(model.embed_tokens) == dtypes(model.norm) == {torch.float32}
    ids = make_ids()
    for index in (0, 2, 2, 1):
        narrow_of(model).widen(model.layers[index])
        assert [dtypes(block) == {torch.float32} for block in model.layers] == [other == index for other in range(3)]
        found, expected = model.layers[index].state_dict(), whole.layers[index].state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert torch.equal(model(ids).last_hidden_state, whole(ids).last_hidden_state)
    assert narrow_of(model).resident is model.layers[2]
    assert narrow_of(model).hash(model) == weights_hash(whole)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_numbers_are_those_of_the_widened_model(llama, monkeypatch, name):
    options = {"prompts": PROMPTS, "k": (3, 5), **SETTINGS[name]}
    run = coupling.analyze(str(llama), **options)
    assert run.attrs["dtype"] == "float32"
    assert to_bytes(run) == to_bytes(widened(llama, monkeypatch, **options))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_no_two_blocks_are_in_float32_at_any_time(llama, monkeypatch, name):
    """Not even in the graph of an operator that is kept for a comparison."""
    alive: dict[nn.Module, list[weakref.ref]] = {}
    counts = []
    widen = Narrow.widen

    def watched(self, module):
        is_new = module is not self.resident
        widen(self, module)
        if is_new:
            alive.setdefault(module, []).extend(weakref.ref(parameter) for parameter in module.parameters())
            gc.collect()
            counts.append(sum(any(ref() is not None for ref in refs) for refs in alive.values()))

    monkeypatch.setattr(Narrow, "widen", watched)
    coupling.analyze(str(llama), **{"prompts": PROMPTS[:2], "k": 3, **SETTINGS[name]})
    assert len(counts) > 3
    assert set(counts) == {1}


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "albert", "falcon", "mamba"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_architectures(tmp_path, monkeypatch, name, dtype):
    """Merged experts, shared layers, full-sequence replay and states among them."""
    folder = write_checkpoint(tmp_path / name, name, dtype=dtype)
    options = {"prompts": PROMPTS[:2], "k": 3}
    assert_equal_to_rounding(coupling.analyze(str(folder), **options), widened(folder, monkeypatch, **options))


def test_weights_that_are_not_streamable_are_narrowed_after_they_were_read(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "bin", "gpt2", dtype=torch.float16)
    model = load(str(folder), narrow=True).model
    (folder / "model.safetensors").unlink()
    torch.save({key: value.half() for key, value in model.state_dict().items()}, folder / "pytorch_model.bin")
    again = load(str(folder), narrow=True, allow_pickle=True).model
    assert all(dtypes(block) <= set(narrow.HALF) for block in again.h)
    options = {"prompts": PROMPTS[:2], "k": 3, "allow_pickle": True}
    run, expected = coupling.analyze(str(folder), **options), widened(folder, monkeypatch, **options)
    assert to_bytes(run) == to_bytes(expected)


def test_weights_that_half_precision_does_not_represent_stay():
    model = make_model("gpt2")
    block = model.h[1]
    with torch.no_grad():
        block.mlp.c_fc.weight.copy_(block.mlp.c_fc.weight.bfloat16())
        block.ln_1.weight.copy_(block.ln_1.weight.half())
    ids, before = make_ids(), weights_hash(model)
    expected = model(ids).last_hidden_state
    kept = Narrow(model, ["h.0", "h.1", "h.2"])
    assert block.mlp.c_fc.weight.dtype == torch.bfloat16
    assert block.ln_1.weight.dtype == torch.float16
    assert block.mlp.c_proj.weight.dtype == torch.float32
    assert torch.equal(model(ids).last_hidden_state, expected)
    assert kept.hash(model) == before


def test_tied_weights_of_a_block_stay_one():
    model = make_model("gpt2").bfloat16().float()
    block = model.h[0]
    block.mlp.c_fc.weight = block.mlp.c_proj.weight = nn.Parameter(block.mlp.c_fc.weight.detach()[:, :32])
    kept = Narrow(model, ["h.0"])
    assert block.mlp.c_fc.weight is block.mlp.c_proj.weight
    kept.widen(block)
    assert block.mlp.c_fc.weight is block.mlp.c_proj.weight
    assert block.mlp.c_fc.weight.dtype == torch.float32


def test_what_fits_in_half_precision_is_not_streamed(llama, monkeypatch):
    """The memory holds the stored weights and one block, and not the widened model."""
    stored = sum(parameter.numel() for parameter in load(str(llama)).model.parameters())
    for module in ("stream_loading", "size"):
        monkeypatch.setattr(f"coupling.models.{module}.memory_of", lambda device: 3 * stored)
    assert load(str(llama), stream="auto", narrow=True).offloaded is None
    assert load(str(llama), stream="auto", narrow=False).offloaded is not None


def test_small_and_wide_checkpoints_are_widened_as_a_whole(llama, tmp_path, monkeypatch):
    wide = write_checkpoint(tmp_path / "wide", "gpt2")
    assert narrow_of(load(str(wide), narrow=True).model) is None
    assert narrow_of(load(str(llama), narrow=True, dtype="float64").model) is None
    assert narrow_of(load(str(llama), narrow=True, random_weights=0).model) is None
    monkeypatch.undo()
    assert narrow_of(load(str(llama), narrow=True).model) is None
