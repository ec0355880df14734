"""GGUF files and quantized folders: their dense form is measured, or one line says what is missing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coupling.errors import CouplingError
from coupling.models import formats
from coupling.models.loading import load
from tests.helpers import BUNDLED


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, quantization: dict) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


@pytest.mark.parametrize(
    ("quantization", "packages"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "optimum and gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "torchao"}, "torchao"),
    ],
)
def test_a_missing_package_is_named(folder, monkeypatch, quantization, packages):
    configure(folder, quantization)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(CouplingError) as caught:
        load(str(folder))
    message = str(caught.value)
    assert f"are quantized by {quantization['quant_method']}, which transformers reads with {packages}" in message
    assert f"pip install {packages.replace(' and', '')}" in message
    assert "corrupt" not in message


def test_a_format_that_transformers_does_not_know(folder):
    configure(folder, {"quant_method": "abacus"})
    with pytest.raises(CouplingError, match="quantized by abacus, a format that this version of transformers does not"):
        load(str(folder))


def test_fp8_is_widened(folder):
    """Blocks of 32 x 32 weights in float8, each with one scale."""
    state = load_file(folder / "model.safetensors")
    expected, stored = {}, {}
    for name, weight in state.items():
        if "proj" not in name:
            stored[name] = expected[name] = weight
            continue
        rows, columns = (-(-size // 32) for size in weight.shape)
        blocks = torch.zeros(rows * 32, columns * 32)
        blocks[: weight.shape[0], : weight.shape[1]] = weight
        blocks = blocks.reshape(rows, 32, columns, 32)
        scale = blocks.abs().amax((1, 3)) / 448
        quantized = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        dense = quantized.float() * scale[:, None, :, None]
        cut = (slice(weight.shape[0]), slice(weight.shape[1]))
        stored[name] = quantized.reshape(rows * 32, columns * 32)[cut].contiguous()
        stored[name.replace(".weight", ".weight_scale_inv")] = scale
        expected[name] = dense.reshape(rows * 32, columns * 32)[cut]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    configure(
        folder, {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic",
                 "modules_to_not_convert": ["lm_head"]}
    )  # fmt: skip
    checkpoint = load(str(folder))
    assert checkpoint.weights_format == "safetensors, fp8"
    loaded = checkpoint.model.state_dict()
    for name, weight in expected.items():
        key = name.removeprefix("model.")
        if key in loaded:
            assert loaded[key].dtype == torch.float32
            assert torch.allclose(loaded[key], weight.float(), atol=1e-6), name


def test_gguf_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(CouplingError, match=r"there is no file model.gguf"):
        load("model.gguf")
    (tmp_path / "a.gguf").write_bytes(b"PK garbage")
    with pytest.raises(CouplingError, match=r"a.gguf is not a GGUF file"):
        load(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b-00001-of-00003.gguf").write_bytes(b"GGUF")
    with pytest.raises(CouplingError, match=r"part 1 of 3, .* llama-gguf-split"):
        load(str(tmp_path / "b-00001-of-00003.gguf"))
    with pytest.raises(CouplingError, match=r"contains 2 GGUF files \(a.gguf, .*\); give one of them"):
        load(str(tmp_path))
    with pytest.raises(CouplingError, match=r"a.gguf is damaged: it ends within its header"):
        load(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(16))  # a whole header that says nothing
    with pytest.raises(CouplingError, match=r"cannot load the configuration of .*a.gguf"):
        load(str(tmp_path / "a.gguf"))
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(CouplingError, match=r"a GGUF file needs the gguf package, .* 'block-coupling\[gguf\]'"):
        load(str(tmp_path / "a.gguf"))
