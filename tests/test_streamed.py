"""A measurement that reads the model block by block gives what one in memory gives, and is resumed bit for bit."""

import os

import numpy as np
import pytest
import torch

import coupling
from coupling.errors import CouplingError
from coupling.models.loading import load
from coupling.netcdf import to_bytes
from coupling.run_files import STREAMED
from coupling.streamed import StreamedMeasurement
from tests.streaming import PROMPTS, assert_equal_to_rounding, write_checkpoint

LLAMA_SETTINGS = {
    "depth": {},
    "depth-tokens": {"tokens": (0, -1)},
    "matrix-free": {"engine": "matrix-free"},
    "self": {"kind": "self", "tokens": (0, 1, -1)},
    "self-pairs": {"kind": "self", "tokens": (0, -1), "block_pairs": ((0, 1), (2, 1), (2, 2))},
    "context-input": {"kind": "context-input", "tokens": (0, 1, -1)},
    "context-output": {"kind": "context-output", "tokens": (0, 1, -1)},
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Shards and tied embeddings."""
    folder = tmp_path_factory.mktemp("llama")
    return write_checkpoint(
        folder, "llama", head="ForCausalLM", max_shard_size="60KB", changes={"tie_word_embeddings": True}
    )


def both(folder, **options):
    options = {"prompts": PROMPTS, "k": (3, 5)} | options
    return (coupling.analyze(str(folder), stream=stream, **options) for stream in (False, True))


@pytest.mark.parametrize("name", LLAMA_SETTINGS)
def test_streamed_and_in_memory_are_equal_to_rounding(llama, name):
    assert len(list(llama.glob("*.safetensors"))) > 2
    assert_equal_to_rounding(*both(llama, **LLAMA_SETTINGS[name]))


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mixtral", "falcon", "gpt_oss", "bert", "albert", "mamba"])
def test_architectures(tmp_path, name):
    """Full-sequence replay (Falcon), merged experts (Mixtral), shared layers (ALBERT), and others."""
    assert_equal_to_rounding(*both(write_checkpoint(tmp_path / name, name)))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_halves_of_an_encoder_decoder_model(tmp_path, part):
    folder = write_checkpoint(tmp_path / "t5", "t5", head="ForConditionalGeneration")
    assert_equal_to_rounding(*both(folder, part=part))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    folder = write_checkpoint(tmp_path / "half", "gpt2", dtype=dtype)
    a, b = both(folder)
    assert a.attrs["dtype"] == "float32"
    assert_equal_to_rounding(a, b)


def test_blocks_stay_in_the_precision_that_was_asked_for(llama):
    assert_equal_to_rounding(*both(llama, dtype="float64", prompts=PROMPTS[:1]))


class Stopped(BaseException):
    """Ends a run where a kill would."""


def stopping_at(step):
    count = 0

    def progress(*_):
        nonlocal count
        count += 1
        if count == step:
            raise Stopped

    return progress


def test_a_resumed_run_is_equal_bit_for_bit_and_repeats_no_block(llama, tmp_path, monkeypatch):
    options = {"prompts": PROMPTS, "k": 3, "stream": True}
    whole = coupling.analyze(str(llama), out=tmp_path / "whole", **options)
    assert not (tmp_path / "whole" / STREAMED).exists()
    reads = []
    run = StreamedMeasurement.run

    def counted(self):
        try:
            run(self)
        finally:
            reads.append(list(self.offloaded.reads.values()))

    monkeypatch.setattr(StreamedMeasurement, "run", counted)
    coupling.analyze(str(llama), **options)
    assert reads == [[2, 2, 1]]  # the last block needs no second pass
    before = [0, 0, 0]
    for step in (3, 10, 17):
        folder = tmp_path / f"stopped-{step}"
        reads.clear()
        with pytest.raises(Stopped):
            coupling.analyze(str(llama), out=folder, progress=stopping_at(step), **options)
        resumed = coupling.analyze(str(llama), out=folder, resume=True, **options)
        assert to_bytes(resumed) == to_bytes(whole)
        first, second = reads
        # only the block at which the run was stopped is read once more
        assert sum(first) + sum(second) - 5 in (0, 1)
        assert sum(first) >= sum(before)
        before = first
    assert sum(before) > 3


def test_an_unfinished_run_may_be_resumed_in_memory_and_by_more_prompts(llama, tmp_path):
    options = {"k": 3, "detail": "none"}
    with pytest.raises(Stopped):
        coupling.analyze(
            str(llama), prompts=PROMPTS[:2], out=tmp_path / "run", stream=True, progress=stopping_at(7), **options
        )
    assert (tmp_path / "run" / STREAMED).exists()
    longer = coupling.analyze(str(llama), prompts=PROMPTS, out=tmp_path / "run", stream=True, resume=True, **options)
    straight = coupling.analyze(str(llama), prompts=PROMPTS, stream=True, **options)
    assert to_bytes(longer) == to_bytes(straight)
    with pytest.raises(Stopped):
        coupling.analyze(
            str(llama), prompts=PROMPTS, out=tmp_path / "other", stream=True, progress=stopping_at(7), **options
        )
    with pytest.raises(CouplingError, match="another text"):
        coupling.analyze(str(llama), prompts=PROMPTS[1:], out=tmp_path / "other", resume=True, **options)
    in_memory = coupling.analyze(str(llama), prompts=PROMPTS, out=tmp_path / "other", resume=True, **options)
    assert_equal_to_rounding(in_memory, straight)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["run.json", "run.nc"]


def test_results_that_cannot_be_saved_are_computed_again(llama, tmp_path, monkeypatch):
    monkeypatch.setattr("coupling.streamed_prompt.packed", lambda result: None)
    options = {"prompts": PROMPTS[:2], "k": 3, "stream": True}
    with pytest.raises(Stopped):
        coupling.analyze(str(llama), out=tmp_path / "run", progress=stopping_at(6), **options)
    with pytest.warns(UserWarning, match="the forward pass is repeated"):
        resumed = coupling.analyze(str(llama), out=tmp_path / "run", resume=True, **options)
    assert_equal_to_rounding(resumed, coupling.analyze(str(llama), **options))


def test_a_shard_that_changes_or_shrinks_during_the_run_is_noticed(tmp_path):
    folder = write_checkpoint(tmp_path / "model", "llama")
    file = folder / "model.safetensors"

    def touch(block, *_):
        if block == 1:
            os.utime(file, ns=(1, 1))

    with pytest.raises(CouplingError, match=r"model\.safetensors has changed since the run began .*layers\."):
        coupling.analyze(str(folder), prompts=PROMPTS, k=3, stream=True, progress=touch)

    def cut(block, *_):
        if block == 1:
            os.truncate(file, 20_000)

    with pytest.raises(CouplingError, match=r"model\.safetensors has changed"):
        coupling.analyze(str(folder), prompts=PROMPTS, k=3, stream=True, progress=cut)


def test_a_missing_or_truncated_shard_is_named(tmp_path):
    folder = write_checkpoint(tmp_path / "model", "llama", max_shard_size="60KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    with pytest.raises(CouplingError, match=shard.name):
        coupling.analyze(str(folder), prompts=PROMPTS, k=3, stream=True)
    shard.unlink()
    with pytest.raises(CouplingError, match=shard.name):
        coupling.analyze(str(folder), prompts=PROMPTS, k=3, stream=True)


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_checkpoint(tmp_path / "model", "llama")
    weights = load_file(folder / "model.safetensors")
    weights["layers.1.mlp.up_proj.weight"][0, 0] = np.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CouplingError, match=r"block 1 .*NaN.*mlp\.up_proj\.weight"):
        coupling.analyze(str(folder), prompts=PROMPTS, k=3, stream=True)


def test_a_full_disk_keeps_what_was_measured(llama, tmp_path, monkeypatch):
    from coupling import parts_file

    write, count = parts_file._write, 0

    def full(descriptor, content):
        nonlocal count
        count += 1
        if count == 9:
            raise OSError(28, "No space left on device")
        write(descriptor, content)

    monkeypatch.setattr(parts_file, "_write", full)
    options = {"prompts": PROMPTS, "k": 3, "stream": True, "out": tmp_path / "run"}
    with pytest.raises(CouplingError, match="No space left on device; the blocks before are saved, continue"):
        coupling.analyze(str(llama), **options)
    kept = (tmp_path / "run" / STREAMED).stat().st_size
    assert kept > 0
    monkeypatch.setattr(parts_file, "_write", write)
    resumed = coupling.analyze(str(llama), resume=True, **options)
    assert to_bytes(resumed) == to_bytes(coupling.analyze(str(llama), **options | {"out": None}))


def test_a_model_that_draws_random_numbers_is_refused(llama):
    checkpoint = load(str(llama), stream=True)
    layer = type(checkpoint.model.layers[0])
    forward = layer.forward

    def drawing(self, *args, **kwargs):
        torch.rand(1)
        return forward(self, *args, **kwargs)

    layer.forward = drawing
    try:
        with pytest.raises(CouplingError, match="draws random numbers"):
            coupling.analyze(str(llama), prompts=PROMPTS, k=3, stream=True)
    finally:
        layer.forward = forward
        checkpoint.offloaded.close()
