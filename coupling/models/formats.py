"""What a checkpoint's weights are: GGUF files and quantized folders, which packages they need, and their dense form."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from coupling.errors import CouplingError
from coupling.models.folder import Found

PACKAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "bitsandbytes": (("bitsandbytes", "bitsandbytes"),),
    "gptq": (("optimum", "optimum"), ("gptqmodel", "gptqmodel")),
    "awq": (("gptqmodel", "gptqmodel"),),
    "compressed-tensors": (("compressed_tensors", "compressed-tensors"),),
    "torchao": (("torchao", "torchao"),),
    "quanto": (("optimum", "optimum-quanto"),),
    "hqq": (("hqq", "hqq"),),
    "aqlm": (("aqlm", "aqlm"),),
    "auto-round": (("auto_round", "auto-round"),),
    "vptq": (("vptq", "vptq"),),
    "spqr": (("spqr_quant", "spqr_quant"),),
    "quark": (("quark", "amd-quark"),),
    "higgs": (("flute", "flute-kernel"),),
    "sinq": (("sinq", "sinq"),),
}
"""For each format, the modules that transformers needs to read it, and the packages that bring them."""
DENSE = ("fp8", "mxfp8", "mxfp4", "compressed-tensors", "fbgemm_fp8", "nvfp4")
"""Formats whose configuration in transformers has the switch ``dequantize``."""


def require_gguf() -> None:
    """Check that the package that reads GGUF files is installed.

    Raises:
        CouplingError: if it is not.
    """
    if find_spec("gguf") is None:
        raise CouplingError(
            "a GGUF file needs the gguf package, which is not installed: pip install 'block-coupling[gguf]'"
        )


@contextmanager
def quiet_gguf() -> Iterator[None]:
    """Hide the progress bar of reading a GGUF where transformers' bars are off; it ignores that switch."""
    reader = sys.modules.get("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(reader, "tqdm", None)
    if bar is None or logging.is_progress_bar_enabled():
        yield
        return
    reader.tqdm = partial(bar, disable=True)  # type: ignore[union-attr]
    try:
        yield
    finally:
        reader.tqdm = bar  # type: ignore[union-attr]


def gguf_format(file: Path) -> str:
    """The kind of weights in a GGUF file, such as "gguf Q4_1": the type of most of its matrices' entries."""
    import gguf

    sizes: Counter[str] = Counter()
    for tensor in gguf.GGUFReader(file).tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements) if len(tensor.shape) > 1 else 0
    return f"gguf {sizes.most_common(1)[0][0]}" if sizes else "gguf"


def on_disk(found: Found | None, quantization: str | None, *, allow_pickle: bool) -> str:
    """What weights were on disk, such as "safetensors, fp8".

    Args:
        found: the files; None for those that transformers found on the hub.
        quantization: the format of quantized weights.
        allow_pickle: whether they may have been pickled.
    """
    if found is not None and found.form == "gguf":
        return gguf_format(found.files[0])
    hub = "safetensors or bin" if allow_pickle else "safetensors"
    form = hub if found is None else found.form
    return form if quantization is None else f"{form}, {quantization}"


def complete_gguf_config(config: PretrainedConfig) -> None:
    """Name the class of a GGUF's model, whose header does not; the number of parameters is that of this class."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if not config.architectures and isinstance(name, str):
        config.architectures = [name]


def quantization_of(config: PretrainedConfig) -> str | None:
    """The format of quantized weights, as transformers names it; None where they are not quantized."""
    content = getattr(config, "quantization_config", None)
    if content is None:
        return None
    if not isinstance(content, dict):
        content = content.to_dict()
    if content.get("load_in_4bit") or content.get("load_in_8bit") or content.get("_load_in_4bit"):
        return "bitsandbytes"
    return str(getattr(content.get("quant_method"), "value", content.get("quant_method")) or "an unnamed format")


def prepare_quantized(name: str, config: PretrainedConfig) -> str | None:
    """Check that a quantized checkpoint can be read here, and ask for its dense weights where transformers has them.

    Args:
        name: what the user called the checkpoint.
        config: its configuration; a switch in it may be set.

    Returns:
        The format; None where the weights are not quantized.

    Raises:
        CouplingError: if transformers does not know the format, or a package that it needs is missing.
    """
    quantization = quantization_of(config)
    if quantization is None:
        return None
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    if not any(known.startswith(quantization) for known in AUTO_QUANTIZER_MAPPING):
        raise CouplingError(
            f"the weights of {name} are quantized by {quantization}, a format that this version of transformers does "
            "not read"
        )
    absent = [package for module, package in PACKAGES.get(quantization, ()) if find_spec(module) is None]
    if absent:
        raise CouplingError(
            f"the weights of {name} are quantized by {quantization}, which transformers reads with "
            f"{' and '.join(absent)}, not installed here: pip install {' '.join(absent)}"
        )
    content: Any = config.quantization_config
    if quantization in DENSE:
        if isinstance(content, dict):
            content["dequantize"] = True
        else:
            content.dequantize = True
    return quantization


def widen(name: str, model: Any, quantization: str, precision: torch.dtype) -> None:
    """Replace quantized weights by dense ones, in place.

    Args:
        name: what the user called the checkpoint.
        model: the loaded model.
        quantization: its format.
        precision: the dtype of the dense weights.

    Raises:
        CouplingError: if the format cannot be made dense.
    """
    if quantization == "bitsandbytes":
        model.dequantize(dtype=precision)
    for module in list(model.modules()):
        for key, parameter in list(module._parameters.items()):
            # A subclass of Tensor, as torchao makes: only it knows its values.
            if parameter is not None and type(parameter.data) is not torch.Tensor and hasattr(parameter, "dequantize"):
                dense = parameter.dequantize().to(precision)
                module._parameters[key] = nn.Parameter(dense, requires_grad=False)
    odd = next((key for key, p in model.named_parameters() if not p.is_floating_point() or p.element_size() < 2), None)
    if odd is not None or any("Quant" in type(module).__name__ for module in model.modules()):
        raise CouplingError(
            f"the weights of {name} are quantized by {quantization}, and transformers leaves them so "
            f"({odd or 'quantized layers'}); a Jacobian needs dense weights, so give "
            "the checkpoint in float16 or bfloat16"
        )
    model.to(precision)
