"""A long prompt measured at its last token, beside the model's own forward pass: ``python -m benchmarks.long_prompt``.

The model has SmolLM2-135M's shape and random weights. The first prompt of a length includes the checks of how each
block can be replayed; later ones do not. The processor time of the process is counted, which other processes on the
machine change less than the time on the wall; so it is meant for one thread (``OMP_NUM_THREADS=1``).
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaModel

import coupling
from benchmarks.engine import VOCABULARY
from benchmarks.memory import PeakMemory, clock_of
from benchmarks.results import progress

SHORT = 32
"""Tokens of the short prompt, whose cost is that of everything but the forward pass."""
SHORT_RUNS = 5


def build(layers: int, hidden: int, context: int) -> LlamaModel:
    """A Llama of SmolLM2's proportions: heads of width 64, a third as many of them for keys and values."""
    torch.manual_seed(0)
    heads = hidden // 64
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3,
        vocab_size=VOCABULARY,
        max_position_embeddings=context,
    )
    return LlamaModel(config).eval().requires_grad_(False)


def run(layers: int, hidden: int, tokens: int) -> dict[str, Any]:
    """Seconds of the forward pass, of a short prompt, and of a long one the first time and again."""
    model = build(layers, hidden, tokens)
    ids = torch.randint(0, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(0))
    clock = clock_of("cpu", processor=True)

    def seconds(what: str, function: Any, *arguments: Any) -> float:
        progress(what)
        before = clock()
        function(*arguments)
        return clock() - before

    @torch.no_grad()
    def forward() -> None:
        model(ids, use_cache=False)

    coupling.measure(model, ids[:, :SHORT])
    short = statistics.median(
        seconds(f"{SHORT} tokens", coupling.measure, model, ids[:, :SHORT]) for _ in range(SHORT_RUNS)
    )
    own = seconds(f"the forward pass of {tokens} tokens", forward)
    with PeakMemory("cpu") as memory:
        first = seconds(f"{tokens} tokens, the first time", coupling.measure, model, ids)
    again = seconds(f"{tokens} tokens, again", coupling.measure, model, ids)
    return {
        "tokens": tokens,
        "blocks": layers,
        "width": hidden,
        "threads": torch.get_num_threads(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "forward_seconds": own,
        "short_seconds": short,
        "first_seconds": first,
        "again_seconds": again,
        "first_ratio": first / (own + short),
        "again_ratio": again / (own + short),
        "peak_bytes": memory.peak,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the figures if a file is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_prompt", description=str(__doc__).splitlines()[0])
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=576, help="a multiple of 192")
    parser.add_argument("--tokens", type=int, default=8192, help="length of the long prompt")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    chosen = parser.parse_args(arguments)
    figures = run(chosen.layers, chosen.hidden, chosen.tokens)
    print(json.dumps(figures, indent=2))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
