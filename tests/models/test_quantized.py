"""Checkpoints that bitsandbytes and torchao have quantized: the dense form computes what the quantized one does."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import coupling
from coupling.models.loading import load
from tests.helpers import BUNDLED


def _quantizations() -> dict[str, tuple[Any, float]]:
    """Every format's configuration, and how far its dense form may be from it, relative to the hidden states."""
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    four_bits = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    return {
        "nf4": (four_bits, 3e-3),
        "int8": (transformers.BitsAndBytesConfig(load_in_8bit=True), 2e-2),  # it rounds activations as well
        "torchao int8": (transformers.TorchAoConfig(Int8WeightOnlyConfig()), 3e-3),
        "torchao float8": (transformers.TorchAoConfig(Float8WeightOnlyConfig()), 3e-3),
    }


def _hidden(model: Any) -> torch.Tensor:
    base = model.get_decoder() if hasattr(model, "get_decoder") else model
    # with gradients: without them, bitsandbytes packs 4-bit weights for CPUs in a way that needs widths of whole blocks
    return base(torch.arange(5, 45)[None]).last_hidden_state.detach().double()


@pytest.mark.quantized
@pytest.mark.parametrize("name", ["nf4", "int8", "torchao int8", "torchao float8"])
def test_the_dense_form_computes_what_the_quantized_one_does(tmp_path: Path, name: str):
    quantization, tolerance = _quantizations()[name]
    quantized = transformers.AutoModelForCausalLM.from_pretrained(BUNDLED, quantization_config=quantization)
    quantized.save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(BUNDLED).save_pretrained(tmp_path / "model")
    checkpoint = load(str(tmp_path / "model"))
    package = "torchao" if "torchao" in name else "bitsandbytes"
    assert checkpoint.weights_format == f"safetensors, {package}"
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.float32}
    expected, dense, original = _hidden(quantized), _hidden(checkpoint.model), _hidden(load().model)
    size = torch.linalg.norm(expected)
    assert torch.linalg.norm(dense - expected) <= tolerance * size
    assert torch.linalg.norm(dense - original) > 5e-3 * size  # it is not the checkpoint before it was quantized
    run = coupling.analyze(str(tmp_path / "model"), "import os", k=5)
    assert run.attrs["weights_format"] == checkpoint.weights_format
    assert coupling.score(run) > float(coupling.chance_score(run))
