"""The engine beside the naive pipeline, in one process: times, ratio, memory, error, and the time of each stage.

Run it from the root of the repository as ``python -m benchmarks.engine``. The naive pipeline is what the paper's
published code does: for every block the d x d Jacobian by reverse mode through the full sequence (at the chunk size
that is fastest, which is found first), a full SVD of each, and all pairs.
"""

import argparse
import json
from typing import Any

import torch
from rich.console import Console
from transformers import GPT2Config, GPT2Model

from benchmarks.engine_side import measure_engine
from benchmarks.naive_side import measure_naive
from benchmarks.results import print_results

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


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both sides; one result per prompt length."""
    lengths = arguments.tokens or [128]
    model = build(arguments.layers, arguments.hidden, arguments.heads, max(lengths), arguments.device)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, VOCABULARY, (1, n), generator=generator).to(arguments.device) for n in lengths]
    results = measure_engine(model, prompts, arguments.k, arguments.repeats)
    rows = arguments.hidden if arguments.naive_rows is None else min(arguments.naive_rows, arguments.hidden)
    if rows > 0:
        model.set_attn_implementation("eager")
        for ids, result in zip(prompts, results, strict=True):
            measure_naive(model, ids, result, arguments.k, rows)
    return [{key: value for key, value in result.items() if key != "exact"} for result in results]


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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    return parser.parse_args()


def main() -> None:
    """Parse the arguments, measure, print."""
    arguments = parse_arguments()
    device = arguments.device
    processor = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    console = Console(stderr=arguments.json)
    console.print(
        f"{arguments.layers} blocks of width {arguments.hidden}, random weights, K = {arguments.k}, fp32, {device} "
        f"({processor})"
    )
    results = run(arguments)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print_results(results, console)


if __name__ == "__main__":
    main()
