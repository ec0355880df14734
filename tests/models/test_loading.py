"""Checkpoints are loaded as they are meant, or refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import coupling
from coupling.errors import CouplingError
from coupling.models.loading import BUNDLED, load
from tests.helpers import BUNDLED as FOLDER


def test_the_bundled_checkpoint():
    checkpoint = load()
    assert checkpoint.name == BUNDLED
    assert checkpoint.context == 256
    assert not checkpoint.model.training
    assert not any(parameter.requires_grad for parameter in checkpoint.model.parameters())
    assert next(checkpoint.model.parameters()).dtype == torch.float32


def test_random_weights_leave_the_caller_s_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = (load(random_weights=5).model.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": " "}, "the model's name is empty"),
        ({"dtype": "int8"}, "`dtype` is 'int8'"),
        ({"block_list": "model.block"}, "no list of modules named 'model.block'"),
        ({"part": "middle"}, "`part` is 'middle', but must be one of encoder, decoder"),
        ({"part": "encoder"}, "`part` applies to encoder-decoder models, and bundled"),
        ({"part": "encoder", "block_list": "layers"}, "give one of them"),
        ({"base": "org/model"}, "bundled is not an adapter"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(CouplingError, match=message):
        load(**options)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "model")
    return tmp_path / "model"


def same_weights(folder: Path, **options: object) -> bool:
    expected, loaded = load().model.state_dict(), load(str(folder), **options).model.state_dict()
    return all(torch.equal(expected[key], loaded[key]) for key in expected)


def in_shards(folder: Path) -> list[dict[str, torch.Tensor]]:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(state)
    return [{key: state[key] for key in part} for part in (keys[::2], keys[1::2])]


def test_safetensors_with_an_index_and_without(folder):
    names = [f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    shards = in_shards(folder)
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    assert same_weights(folder)
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert same_weights(folder)
    assert load(str(folder)).weights_format == "safetensors"
    (folder / names[1]).unlink()
    with pytest.raises(
        CouplingError, match=f"index.json names the shard {names[1]}, which the folder does not contain"
    ):
        load(str(folder))


def test_pickles_are_read_only_when_asked_for(folder):
    shards = in_shards(folder)
    torch.save(shards[0] | shards[1], folder / "pytorch_model.bin")
    with pytest.raises(CouplingError, match=r"only pytorch_model.bin .* can run any code .* give `allow_pickle=True`"):
        load(str(folder))
    assert same_weights(folder, allow_pickle=True)
    assert load(str(folder), allow_pickle=True).weights_format == "bin"
    save_file(shards[0] | shards[1], folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert same_weights(folder)


def test_whole_weights_win_over_an_adapter_beside_them(folder):
    """Transformers itself would load the base that the adapter names."""
    content = {"peft_type": "LORA", "base_model_name_or_path": "/nowhere/base"}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    assert same_weights(folder)
    assert load(str(folder)).adapter == ""


def small_t5() -> transformers.T5Model:
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=1024, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                                   decoder_start_token_id=0)  # fmt: skip
    return transformers.T5Model(config).eval()


def small_bart() -> transformers.BartModel:
    torch.manual_seed(0)
    config = transformers.BartConfig(vocab_size=1024, d_model=32, encoder_layers=2, decoder_layers=3,
                                     encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
                                     decoder_ffn_dim=48, max_position_embeddings=64)  # fmt: skip
    return transformers.BartModel(config).eval()


@pytest.mark.parametrize("make", [small_t5, small_bart])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_parts_of_an_encoder_decoder_model(tmp_path, make, part):
    model = make()
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(FOLDER) / name, tmp_path)
    with pytest.raises(CouplingError, match="choose one by `part='encoder'`"):
        load(str(tmp_path))
    run = coupling.analyze(str(tmp_path), ["import os\nimport sys"], k=4, part=part)
    assert run.attrs["part"] == part
    ids = load().tokenizer("import os\nimport sys", return_tensors="pt")["input_ids"]
    start = torch.full_like(ids[:, :1], model.config.decoder_start_token_id)
    shifted = torch.cat([start, ids[:, :-1]], 1)
    blocks = "block" if make is small_t5 else "layers"
    expected = coupling.measure(
        model, {"input_ids": ids, "decoder_input_ids": shifted}, k=4, block_list=f"{part}.{blocks}"
    )
    assert abs(run.mismatch - expected.mismatch).max() < 1e-5
    assert int(run.n_tokens[0]) == ids.shape[1]
    assert run.sizes["block"] == len(model.get_submodule(f"{part}.{blocks}"))
    named = coupling.analyze(str(tmp_path), ["import os\nimport sys"], k=4, block_list=f"{part}.{blocks}")
    assert (named.mismatch == run.mismatch).all()
    assert named.token_text.values.tolist() == run.token_text.values.tolist()
