"""Every mistake of a user in ``coupling analyze``: one line, an exit code, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import coupling
from tests.helpers import BUNDLED, refused


def test_an_output_folder_that_exists(cli, tmp_path):
    arguments = ("analyze", "--limit", 1, "--k", 2, "--out", "run", "--quiet")
    assert cli(*arguments)[0] == 0
    before = (tmp_path / "run" / "run.nc").read_bytes()
    refused(cli(*arguments), "run already contains a run", "--resume", "--overwrite")
    assert cli(*arguments, "--overwrite")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == before  # the same seed, the same bytes
    assert cli(*arguments, "--resume")[0] == 0
    refused(cli(*arguments, "--resume", "--seed", 1), "differs in seed")


def test_an_output_folder_that_cannot_be_made(cli):
    refused(cli("analyze", "--limit", 1, "--k", 2, "--out", "/proc/run"), "cannot write to the folder /proc/run")
    refused(cli("analyze", "--limit", 1, "--k", 2, "--out", "/dev/null/run"), "cannot write")


@pytest.fixture
def checkpoint(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "model")
    return tmp_path / "model"


def test_no_such_model(cli, tmp_path):
    refused(cli("analyze", "./nowhere", "--out", "run"), "there is no folder ./nowhere")
    refused(cli("analyze", "/nowhere/model", "--out", "run"), "there is no folder /nowhere/model")
    refused(cli("analyze", "EleutherAI/pythia-160m", "--out", "run"), "EleutherAI/pythia-160m", "hub cannot be reached")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_hub_id_that_is_not_to_be_had_is_one_line(tmp_path):
    """With the hub allowed: unreachable here, or a repository that it does not have."""
    command = [sys.executable, "-m", "coupling.cli", "analyze", "block-coupling-tests/no-such-model", "--out", "run"]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    refused((result.returncode, result.stdout, result.stderr), "block-coupling-tests/no-such-model")


def test_damaged_checkpoints(cli, checkpoint, tmp_path):
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 100, b"\xff" * 64):
        weights.write_bytes(content)
        refused(cli("analyze", checkpoint, "--out", "run"), "model.safetensors", "truncated or corrupt")
    weights.unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "contains no weights")
    weights.write_bytes(whole)
    (checkpoint / "config.json").write_text("{")
    refused(cli("analyze", checkpoint, "--out", "run"), "cannot be read as JSON")
    (checkpoint / "config.json").write_text('{"model_type": "no-such-model"}')
    refused(cli("analyze", checkpoint, "--out", "run"), "cannot load the configuration", "no-such-model")
    (checkpoint / "config.json").unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "contains no config.json")
    (checkpoint / "adapter_config.json").write_text("{}")
    refused(cli("analyze", weights, "--out", "run"), "is a file")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_tokenizer(cli, checkpoint):
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").unlink()
    refused(cli("analyze", checkpoint, "--out", "run"), "contains no tokenizer")


def test_a_pickled_checkpoint_that_is_truncated(cli, checkpoint):
    state = {name: tensor.clone() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    (checkpoint / "model.safetensors").unlink()
    torch.save(state, checkpoint / "pytorch_model.bin")
    asked = ("analyze", checkpoint, "--limit", 1, "--k", 2)
    refused(cli(*asked, "--out", "run"), "only pytorch_model.bin weights", "can run any code", "--allow-pickle")
    assert cli(*asked, "--out", "run", "--quiet", "--allow-pickle")[0] == 0
    path = checkpoint / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:5000])
    refused(cli(*asked, "--out", "other", "--allow-pickle"), "cannot load the weights")


def test_weights_that_are_missing_nan_or_of_another_shape(cli, checkpoint):
    state = {name: tensor.clone() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    key = next(key for key in state if "layers.3.mlp.up_proj" in key)

    def save(changed):
        save_file(changed, checkpoint / "model.safetensors", metadata={"format": "pt"})

    save({name: tensor for name, tensor in state.items() if name != key})
    refused(cli("analyze", checkpoint, "--out", "run"), "lack 1 parameters", "layers.3.mlp.up_proj")
    for value in (float("nan"), float("inf")):
        bad = state[key].clone()
        bad[1, 2] = value
        save(state | {key: bad})
        refused(cli("analyze", checkpoint, "--out", "run"), "weights of block 3", "mlp.up_proj.weight")
    save(state | {key: state[key][:, :64].contiguous()})
    refused(cli("analyze", checkpoint, "--out", "run"), "up_proj")


def test_weights_beside_the_blocks_that_are_missing(cli, tmp_path):
    """Position embeddings that would be random."""
    import transformers

    config = transformers.GPT2Config(vocab_size=1024, n_embd=32, n_head=4, n_layer=2, n_positions=64)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(BUNDLED) / name, tmp_path / "gpt2")
    assert cli("analyze", "gpt2", "--limit", 1, "--k", 2, "--out", "run", "--quiet")[0] == 0
    weights = tmp_path / "gpt2" / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    save_file({k: v for k, v in state.items() if "wpe" not in k}, weights, metadata={"format": "pt"})
    refused(cli("analyze", "gpt2", "--out", "other"), "lack 1 parameters", "wpe.weight")


def test_more_blocks_than_configured(cli, checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    refused(cli("analyze", checkpoint, "--out", "run"), "contain block 5", "its configuration has 5 blocks")


def test_a_damaged_tokenizer(cli, checkpoint):
    for content in ("{", "{}", ""):
        (checkpoint / "tokenizer.json").write_text(content)
        refused(cli("analyze", checkpoint, "--out", "run"), "cannot load the tokenizer", "truncated or corrupt")


def test_a_vision_model_without_an_image_processor(cli, tmp_path):
    import transformers

    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    shutil.copy(Path(BUNDLED) / "tokenizer.json", tmp_path / "vit")
    refused(cli("analyze", "vit", "--out", "run"), "vit contains no image processor configuration")


def test_an_encoder_decoder(cli, tmp_path):
    (tmp_path / "t5").mkdir()
    import transformers

    transformers.T5Model(transformers.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
                         ).save_pretrained(tmp_path / "t5")  # fmt: skip
    refused(cli("analyze", tmp_path / "t5", "--out", "run"), "encoder-decoder", "--part encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(BUNDLED) / name, tmp_path / "t5")
    refused(cli("analyze", tmp_path / "t5", "--out", "run", "--part", "encoder"), "the tokenizer is not this model's")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--prompts", ""], ["the prompt is empty"]),
        (["--prompts", "missing.txt"], ["missing.txt", "No such file"]),
        (["--prompts", "x = 1\n" * 500], ["tokens, and the model's context is 256", "--truncate"]),
        (["--k", "129"], ["K is 129", "d = 128"]),
        (["--tokens", "400"], ["token 400 is out of range"]),
        (["--device", "cuda:7"], ["--device 'cuda:7' cannot be used here"]),
        (["--block-list", "model.block"], ["no list of modules named 'model.block'", "layers (8 x LlamaDecoderLayer)"]),
        (["--kind", "self", "--block-pair", "0:8"], ["no block 8"]),
        (["--fixed-token", "0"], ["--fixed-token applies to the context kinds"]),
        (["--dataset", "nobody/nothing"], ["cannot load the data set nobody/nothing"]),
        (["--tol", "-1"], ["--tol is -1"]),
        (["--device", "meta"], ["--device 'meta'"]),
        (["--column", "q"], ["--column 'q'"]),
        (["--part", "encoder"], ["--part applies to encoder-decoder models"]),
        (["--base", "org/model"], ["--base names the model of an adapter"]),
        (["--chat"], ["bundled has no chat template, so --chat does not apply"]),
        (["./model.gguf"], ["there is no file ./model.gguf"]),
        (["org/quants:Q4_K_M"], ["cannot load org/quants:Q4_K_M", "hub cannot be reached", "not in the local cache"]),
        (["org/adapter"], ["cannot load the configuration of org/adapter", "hub cannot be reached"]),
    ],
)
def test_input_that_cannot_be_measured(cli, arguments, parts):
    refused(cli("analyze", "--out", "run", "--limit", 1, *arguments), *parts)
    assert not Path("run").exists()  # a command that fails before measuring leaves nothing behind


@pytest.mark.parametrize("auto_class", ["AutoModel", "AutoModelForCausalLM"])
def test_code_that_a_checkpoint_brings_runs_only_when_trusted(cli, checkpoint, auto_class, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    base = {"AutoModel": "LlamaModel", "AutoModelForCausalLM": "LlamaForCausalLM"}[auto_class]
    (checkpoint / "brought.py").write_text(
        f"from transformers import LlamaConfig, {base}\n\n\n"
        "class BroughtConfig(LlamaConfig):\n    model_type = 'brought'\n\n\n"
        f"class Brought({base}):\n    config_class = BroughtConfig\n"
    )
    config = json.loads((checkpoint / "config.json").read_text())
    code = {"AutoConfig": "brought.BroughtConfig", auto_class: "brought.Brought"}
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "brought", "auto_map": code}))
    refused(cli("analyze", checkpoint, "--out", "run"), "brings its own code", "--trust-remote-code")
    trusted = cli("analyze", checkpoint, "--trust-remote-code", "--limit", 1, "--k", 3, "--out", "a", "--quiet")
    assert trusted == (0, "", "")
    assert cli("analyze", "--limit", 1, "--k", 3, "--out", "b", "--quiet")[0] == 0
    same = coupling.open_run("a").mismatch.values == coupling.open_run("b").mismatch.values
    assert same.all()


def test_a_revision_of_a_folder(cli, checkpoint):
    refused(cli("analyze", checkpoint, "--revision", "main", "--out", "run"), "local folder", "no revision 'main'")


def test_a_shard_that_an_index_names(cli, checkpoint):
    state = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    content = {"weight_map": dict.fromkeys(state, "model-00002-of-00002.safetensors")}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(content))
    refused(cli("analyze", checkpoint, "--out", "run"), "names the shard model-00002-of-00002.safetensors")


def test_a_tekken_tokenizer_without_its_package(cli, checkpoint, monkeypatch):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    (checkpoint / "tekken.json").write_text("{}")
    monkeypatch.setattr("coupling.models.folder.find_spec", lambda name: None)
    refused(cli("analyze", checkpoint, "--out", "run"), "is a tekken.json, which needs the mistral-common package")
