"""The error of the mismatch in each precision, against float64: ``python -m benchmarks.precision``.

The bundled checkpoint is measured, as it is and with its weights rounded to half precision, in which case the exact
numbers are those of the rounded weights: what is reported is the error of the computation, not that of the rounding.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import coupling
from coupling.models.loading import load

SETTINGS: tuple[tuple[str, torch.dtype, torch.dtype], ...] = (
    ("float32 weights, float32 passes", torch.float32, torch.float32),
    ("bfloat16 weights, widened to float32", torch.bfloat16, torch.float32),
    ("float16 weights, widened to float32", torch.float16, torch.float32),
    ("bfloat16 weights and passes", torch.bfloat16, torch.bfloat16),
    ("float16 weights and passes", torch.float16, torch.float16),
)
"""A name, the precision of the weights, and that of the passes (``--dtype``)."""


def errors(model: nn.Module, inputs: list[torch.Tensor]) -> list[dict[str, Any]]:
    """The largest and the mean error of m at p = 2, and of the largest singular value, for each setting."""
    rows = []
    for name, weights, passes in SETTINGS:
        rounded = copy.deepcopy(model).to(weights)
        exact = coupling.measure(copy.deepcopy(rounded).double(), inputs, hash_weights=False, detail="none")
        found = coupling.measure(rounded.to(passes), inputs, hash_weights=False, detail="none")
        difference = np.abs(found.mismatch.sel(norm=2) - exact.mismatch.sel(norm=2)).values
        relative = np.abs(found.singular_values / exact.singular_values - 1).isel(rank=0).values
        rows.append(
            {
                "setting": name,
                "largest_error": float(difference.max()),
                "mean_error": float(difference.mean()),
                "largest_singular_value": float(relative.max()),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the figures if a file is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=str(__doc__).splitlines()[0])
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    chosen = parser.parse_args(arguments)
    model = load(device="cpu").model
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(0, model.config.vocab_size, (1, 32), generator=generator) for _ in range(chosen.prompts)]
    rows = errors(model, inputs)
    print(json.dumps(rows, indent=2))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
