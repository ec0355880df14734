"""The engine beside the naive pipeline, in one process: times, ratio, memory, error, and where the time goes.

Run it as ``python -m benchmarks.engine``. The naive pipeline is what the paper's published code does: for every
block the d x d Jacobian by reverse mode through the full sequence (at its best chunk size, sought first), a full
SVD of each, and all pairs.
"""

import argparse
import contextlib
import copy
import ctypes
import gc
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2Model

from coupling import metrics
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import compare, factor
from coupling.models.blocks import find_blocks
from coupling.models.recording import record_blocks
from coupling.settings import Settings

CHUNKS = (1, 4, 8, 16, 32, 64)
"""Chunk sizes tried for the naive pipeline, in rows of the Jacobian a pass."""


def build(layers: int, hidden: int, heads: int, context: int, device: str) -> GPT2Model:
    """A GPT-2 of a given shape with random weights: flat spectra, the hardest case for singular vectors."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers, n_embd=hidden, n_head=heads, n_positions=max(context, 8), vocab_size=1024,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2Model(config).eval().requires_grad_(False).to(device)


class PeakMemory:
    """The most memory above where it started, in bytes, sampled every few milliseconds; a context manager."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._process = psutil.Process()
        self.peak = 0

    def __enter__(self) -> "PeakMemory":
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
            return self
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # give freed memory back first, where the C library can
            ctypes.CDLL(None).malloc_trim(0)
        self._start = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss - self._start)

    def __exit__(self, *_: object) -> None:
        if self._cuda:
            self.peak = torch.cuda.max_memory_allocated() - self._start
        else:
            self._stop.set()
            self._thread.join()


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def engine_pipeline(model: GPT2Model, ids: torch.Tensor, k: int) -> tuple[np.ndarray, dict[str, float]]:
    """Ours: the mismatch of all pairs, (block, other_block) at p = 2, and the seconds of each stage."""
    device, settings = str(ids.device), Settings((k,))
    _, blocks = find_blocks(model)
    stages = {"forward and record": 0.0, "linearize": 0.0, "Jacobians": 0.0, "singular vectors": 0.0, "compare": 0.0}
    before = _clock(device)

    def lap(stage: str) -> None:
        nonlocal before
        now = _clock(device)
        stages[stage] += now - before
        before = now

    recording = record_blocks(model, blocks, {"input_ids": ids})
    lap("forward and record")
    factored = []
    for block in range(recording.n_blocks):
        jacobian = recording.jacobian(block, recording.n_tokens - 1)
        lap("linearize")
        matrix = DenseJacobian(jacobian.to_dense())
        lap("Jacobians")
        factored.append(factor(matrix, settings.k[-1], n_compared=recording.n_blocks))
        lap("singular vectors")
    arrays = compare(factored, factored, settings.k)
    lap("compare")
    return arrays["mismatch"][0, 1], stages


def naive_jacobian(
    model: GPT2Model, ids: torch.Tensor, block: int, chunk: int, rows: int | None = None
) -> torch.Tensor:
    """One block's d x d Jacobian at the last token by reverse mode through the full sequence; (rows, d)."""
    module = model.h[block]
    with torch.no_grad():
        seen: list[torch.Tensor] = []
        handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model(ids, use_cache=False)
        handle.remove()
    stream = seen[0].detach().requires_grad_()
    n, d = stream.shape[1:]
    mask = torch.full((n, n), torch.finfo(stream.dtype).min, dtype=stream.dtype, device=stream.device).triu(1)[
        None, None
    ]
    output = module(stream, attention_mask=mask)
    last = (output[0] if isinstance(output, tuple) else output)[0, -1] - stream[0, -1]
    directions = torch.eye(d, dtype=stream.dtype, device=stream.device)[:rows]
    parts = []
    for piece in directions.split(chunk):
        if chunk == 1:
            (gradient,) = torch.autograd.grad(last, stream, piece[0], retain_graph=True)
            parts.append(gradient[None, 0, -1])
        else:
            (gradient,) = torch.autograd.grad(last, stream, piece, retain_graph=True, is_grads_batched=True)
            parts.append(gradient[:, 0, -1])
    return torch.cat(parts)


def best_chunk(model: GPT2Model, ids: torch.Tensor) -> int:
    """The chunk size at which the naive Jacobian is fastest, tried on as many rows as the largest."""
    device, seconds = str(ids.device), {}
    for chunk in CHUNKS:
        naive_jacobian(model, ids, 0, chunk, rows=chunk)
        before = _clock(device)
        naive_jacobian(model, ids, 0, chunk, rows=max(CHUNKS))
        seconds[chunk] = _clock(device) - before
    return min(seconds, key=lambda chunk: seconds[chunk])


def naive_rows_seconds(model: GPT2Model, ids: torch.Tensor, chunk: int, rows: int) -> float:
    """The naive Jacobians' time, from so many rows of each block: every row costs the same."""
    before = _clock(str(ids.device))
    for block in range(len(model.h)):
        naive_jacobian(model, ids, block, chunk, rows=rows)
    return (_clock(str(ids.device)) - before) * model.config.n_embd / rows


def naive_pipeline(model: GPT2Model, ids: torch.Tensor, k: int, chunk: int) -> np.ndarray:
    """The published code's way: the mismatch of all pairs, (block, other_block) at p = 2."""
    triplets = []
    for block in range(len(model.h)):
        jacobian = naive_jacobian(model, ids, block, chunk)
        u, s, vh = torch.linalg.svd(jacobian)
        triplets.append((jacobian, u[:, :k], s[:k], vh[:k].mT))
    return _all_pairs(triplets)


def _all_pairs(triplets: Sequence[tuple[torch.Tensor, ...]]) -> np.ndarray:
    result = np.empty((len(triplets), len(triplets)))
    for a, (jacobian, _, values, _) in enumerate(triplets):
        for b, (_, left, _, right) in enumerate(triplets):
            projection = (left.mT @ jacobian @ right).cpu().double().numpy()
            result[a, b] = metrics.mismatch(projection, values.cpu().double().numpy())
    return result


def reference(model: GPT2Model, ids: torch.Tensor, k: int) -> np.ndarray:
    """The mismatch in float64 from full SVDs (the Jacobians' own check against autograd is in the tests)."""
    double = copy.deepcopy(model).double()
    _, blocks = find_blocks(double)
    recording = record_blocks(double, blocks, {"input_ids": ids})
    triplets = []
    for block in range(recording.n_blocks):
        matrix = recording.jacobian(block, recording.n_tokens - 1).to_dense()
        u, s, vh = torch.linalg.svd(matrix)
        triplets.append((matrix, u[:, :k], s[:k], vh[:k].mT))
    return _all_pairs(triplets)


def gemm_peak(hidden: int, device: str) -> float:
    """The best rate seen of the block's own matrix products, in operations a second."""
    a, b = torch.randn(hidden, 4 * hidden, device=device), torch.randn(4 * hidden, hidden, device=device)
    seconds = []
    for _ in range(30):
        before = _clock(device)
        a @ b
        seconds.append(_clock(device) - before)
    return 8 * hidden**3 / min(seconds)


def engine_side(model: GPT2Model, prompts: list[torch.Tensor], k: int, repeats: int) -> list[dict[str, Any]]:
    """Ours at every prompt length, the lengths taking turns so that a machine's drift falls on all alike."""
    device, hidden = str(prompts[0].device), model.config.n_embd
    forward: list[list[float]] = [[] for _ in prompts]
    runs: list[list[tuple[float, dict[str, float]]]] = [[] for _ in prompts]
    results: list[dict[str, Any]] = []
    for ids in prompts:
        with torch.no_grad():
            model(ids, use_cache=False)
        with PeakMemory(device) as memory:
            ours, _ = engine_pipeline(model, ids, k)
        say(f"n = {ids.shape[1]}: float64 reference")
        results.append({"tokens": ids.shape[1], "engine_peak_bytes": memory.peak, "exact": reference(model, ids, k)})
        results[-1]["engine_error"] = float(np.abs(ours - results[-1]["exact"]).max())
    for turn in range(repeats):
        say(f"engine, turn {turn + 1} of {repeats}")
        for index, ids in enumerate(prompts):
            before = _clock(device)
            with torch.no_grad():
                model(ids, use_cache=False)
            middle = _clock(device)
            _, stages = engine_pipeline(model, ids, k)
            forward[index].append(middle - before)
            runs[index].append((_clock(device) - middle, stages))
    operations = len(model.h) * 2 * 12 * hidden**3  # one backward pass a row through the linear layers
    for index, result in enumerate(results):
        seconds = statistics.median(run[0] for run in runs[index])
        stages = {
            stage: statistics.median(run[1][stage] for run in runs[index]) for stage in runs[index][0][1]
        }  # fmt: skip
        result |= {
            "engine_seconds": seconds,
            "forward_seconds": statistics.median(forward[index]),
            "beyond_forward_seconds": statistics.median(
                run[0] - own for run, own in zip(runs[index], forward[index], strict=True)
            ),
            "stages": stages,
            "gemm_peak": gemm_peak(hidden, device),
            "jacobian_rate": operations / stages["Jacobians"],
        }
    return results


def naive_side(model: GPT2Model, ids: torch.Tensor, result: dict[str, Any], k: int, rows: int) -> None:
    """The naive pipeline at one prompt length, into the same result."""
    device = str(ids.device)
    say(f"n = {ids.shape[1]}: naive, seeking its best chunk size")
    chunk = best_chunk(model, ids)
    say(f"n = {ids.shape[1]}: naive, chunk {chunk}")
    with PeakMemory(device) as memory:
        before = _clock(device)
        if rows < model.config.n_embd:
            seconds = naive_rows_seconds(model, ids, chunk, rows)
        else:
            theirs = naive_pipeline(model, ids, k, chunk)
            seconds = _clock(device) - before
            result["naive_error"] = float(np.abs(theirs - result["exact"]).max())
    result |= {
        "naive_chunk": chunk,
        "naive_rows": rows,
        "naive_seconds": seconds,
        "ratio": seconds / result["engine_seconds"],
        "naive_peak_bytes": memory.peak,
    }
    say(f"n = {ids.shape[1]}: naive {seconds:.1f} s, engine {result['engine_seconds']:.2f} s")


def say(stage: str) -> None:
    """What is going on, for who waits."""
    print(stage, file=sys.stderr, flush=True)


def print_results(results: list[dict[str, Any]], console: Console) -> None:
    """The figures as a table, a column a prompt length."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for result in results:
        table.add_column(f"n = {result['tokens']}", justify="right")

    def row(label: str, key: str, form: Callable[[Any], str]) -> None:
        if any(key in result for result in results):
            table.add_row(label, *(form(result[key]) if key in result else "-" for result in results))

    row("naive, best chunk", "naive_seconds", lambda v: f"{v:.1f} s")
    row("  its chunk size", "naive_chunk", str)
    row("  rows of each Jacobian timed", "naive_rows", str)
    row("this engine", "engine_seconds", lambda v: f"{v:.2f} s")
    row("times faster", "ratio", lambda v: f"{v:.0f}")
    row("naive, peak memory", "naive_peak_bytes", lambda v: f"{v / 2**20:.0f} MB")
    row("engine, peak memory", "engine_peak_bytes", lambda v: f"{v / 2**20:.0f} MB")
    row("naive, largest error in m", "naive_error", lambda v: f"{v:.1e}")
    row("engine, largest error in m", "engine_error", lambda v: f"{v:.1e}")
    row("the model's own forward pass", "forward_seconds", lambda v: f"{v:.2f} s")
    row("engine beyond the forward pass", "beyond_forward_seconds", lambda v: f"{v:.2f} s")
    table.add_section()
    for stage in results[0]["stages"]:
        table.add_row(stage, *(f"{r['stages'][stage]:.2f} s" for r in results))
    row("GEMM peak of this machine", "gemm_peak", lambda v: f"{v / 1e9:.0f} GFLOP/s")
    table.add_row("Jacobians, share of that peak", *(f"{r['jacobian_rate'] / r['gemm_peak']:.0%}" for r in results))
    console.print(table)


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, action="append", help="prompt length; may be repeated (default 128)")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many runs of the engine is reported")
    parser.add_argument(
        "--naive-rows", type=int, help="time only so many rows of each naive Jacobian and scale; 0 leaves it out"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    args = parser.parse_args()
    console = Console(stderr=args.json)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    console.print(
        f"{args.layers} blocks of width {args.hidden}, random weights, K = {args.k}, fp32, {args.device} ({name})"
    )
    lengths = args.tokens or [128]
    model = build(args.layers, args.hidden, args.heads, max(lengths), args.device)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 1024, (1, n), generator=generator).to(args.device) for n in lengths]
    results = engine_side(model, prompts, args.k, args.repeats)
    rows = args.hidden if args.naive_rows is None else min(args.naive_rows, args.hidden)
    if rows > 0:
        model.set_attn_implementation("eager")
        for ids, result in zip(prompts, results, strict=True):
            naive_side(model, ids, result, args.k, rows)
    for result in results:
        del result["exact"]
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print_results(results, console)


if __name__ == "__main__":
    main()
