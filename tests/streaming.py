"""Small checkpoints on disk whose streamed measurement is compared with the one in memory."""

from pathlib import Path

import numpy as np
import torch
import transformers
import xarray as xr

from coupling.models.loading import load
from coupling.settings import Settings
from tests.helpers import ARCHITECTURES, BUNDLED

PROMPTS = ["import os", "def main(argument):\n    return 1", "x = 5"]
TOKENIZER_SIZE = 1024
T5 = {"d_model": 32, "d_ff": 48, "num_layers": 3, "num_heads": 4, "d_kv": 8, "decoder_start_token_id": 0}
ALBERT = {"embedding_size": 16, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
          "num_attention_heads": 4}  # fmt: skip
MAMBA = {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8}
OTHERS = {"t5": ("T5", T5), "albert": ("Albert", ALBERT), "mamba": ("Mamba", MAMBA)}


def write_checkpoint(
    folder: Path, name: str, *, dtype: torch.dtype = torch.float32, head: str = "Model", changes=None, **save
) -> Path:
    """A small random checkpoint of an architecture, with the bundled tokenizer."""
    family, options = (ARCHITECTURES | OTHERS)[name]
    changes = changes or {}
    torch.manual_seed(7)
    config = getattr(transformers, f"{family}Config")(**options | {"vocab_size": TOKENIZER_SIZE, **changes})
    model = getattr(transformers, f"{family}{head}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.to(dtype).save_pretrained(folder, **save)
    load(BUNDLED).tokenizer.save_pretrained(folder)
    return folder


def assert_equal_to_rounding(a: xr.Dataset, b: xr.Dataset) -> None:
    """The same variables, coordinates and attributes, and the same numbers to the rounding of float32."""
    assert a.attrs == b.attrs
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        one, other = a[name].values, b[name].values
        if name == "singular_value_error":  # a bound that is itself of the size of the rounding
            np.testing.assert_allclose(one, other, atol=1e-5 * a.singular_values.max().item())
        elif one.dtype.kind == "f":
            scale = np.nanmax(np.abs(one), initial=1e-300)
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * scale, err_msg=str(name))
        else:
            np.testing.assert_array_equal(one, other, err_msg=str(name))


def small_settings(**options) -> Settings:
    """Settings with two small K."""
    return Settings((3, 5), **options)
