"""What saving costs: a run of many small prompts in a folder, beside the measuring itself.

Run it from the root of the repository as ``python -m benchmarks.saving``.
"""

import argparse
import json
import random
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from benchmarks.memory import PeakMemory
from benchmarks.results import progress


def small_model(folder: Path, width: int) -> str:
    """Save a small random Llama with the bundled tokenizer, and return its folder."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(str(files("coupling") / "data/checkpoint"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def measured(model: str, prompts: list[str], out: Path) -> dict[str, float]:
    """The seconds of a saved run without the loading, and those of its measuring alone."""
    import coupling

    with PeakMemory("cpu") as memory:
        started = time.perf_counter()
        coupling.analyze(model, prompts, k=5, out=out)
        seconds = time.perf_counter() - started
    timings = json.loads((out / "run.json").read_text())["timings"]
    total, measuring = seconds - timings["load_seconds"], timings["measure_seconds"]
    return {
        "prompts": len(prompts),
        "total_seconds": round(total, 2),
        "measuring_seconds": round(measuring, 2),
        "ratio": round(total / measuring, 3),
        "peak_bytes": memory.peak,
        "bytes_on_disk": sum(file.stat().st_size for file in out.iterdir()),
    }


def main(given: list[str] | None = None) -> None:
    """Measure, and print the results as JSON, one line per number of prompts."""
    parser = argparse.ArgumentParser(description="What saving a run costs beside measuring it.")
    parser.add_argument("--prompts", type=int, action="append", help="number of prompts; may be repeated")
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args(given)
    draw = random.Random(0)
    words = ["return", "self", "import", "for", "value", "def", "None", "name", "path", "if"]
    with tempfile.TemporaryDirectory() as place:
        model = small_model(Path(place) / "model", arguments.width)
        measured(model, ["import os"] * 5, Path(place) / "warm")
        for count in arguments.prompts or [1_000, 10_000]:
            progress(f"{count} prompts")
            prompts = [" ".join(draw.choices(words, k=4)) for _ in range(count)]
            print(json.dumps(measured(model, prompts, Path(place) / f"run-{count}")), flush=True)


if __name__ == "__main__":
    main()
