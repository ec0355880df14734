"""Many prompts and many tokens at once, beside one by one; and estimates beside what was measured.

Run it from the root of the repository as ``python -m benchmarks.together``. All variants take turns in one process, and
the processor time of the process is counted, which other processes on the machine change less than the time on the
clock; so it is meant for one thread (``OMP_NUM_THREADS=1``).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import coupling
from benchmarks.engine import VOCABULARY, build
from benchmarks.results import progress
from coupling.estimate import estimate
from coupling.models.loading import load
from coupling.settings import Settings

SINGLE = 8
"""Prompts that are measured by a call each; their time is scaled to that of one."""


def processor_seconds(function: Callable[..., object], *arguments: Any, **keywords: Any) -> float:
    """The processor time of a call."""
    before = time.process_time()
    function(*arguments, **keywords)
    return time.process_time() - before


def prompts_together(model: nn.Module, prompts: list[Tensor], turns: int, name: str) -> dict[str, Any]:
    """Seconds per prompt: a call for each, and one call for all."""
    coupling.measure(model, prompts[:2])
    single, joint, without = [], [], []
    for turn in range(turns):
        progress(f"{name}: turn {turn + 1} of {turns}")
        few = prompts[:SINGLE]
        single.append(sum(processor_seconds(coupling.measure, model, one) for one in few) / len(few))
        without.append(processor_seconds(coupling.measure, model, few, batch_size=1) / len(few))
        joint.append(processor_seconds(coupling.measure, model, prompts) / len(prompts))
    several, alone = (coupling.measure(model, prompts[:SINGLE], batch_size=size) for size in ("auto", 1))
    return {
        "prompts": len(prompts),
        "tokens": prompts[0].shape[1],
        "single_call_seconds": statistics.median(single),
        "batch_of_one_seconds": statistics.median(without),
        "together_seconds": statistics.median(joint),
        "share": statistics.median(b / a for a, b in zip(single, joint, strict=True)),
        "largest_difference": float(abs(several.mismatch - alone.mismatch).max()),
    }


def tokens_together(model: nn.Module, ids: Tensor, turns: int) -> dict[str, Any]:
    """Seconds per Jacobian over all tokens of a prompt, by kind, and at the last token alone."""
    variants: dict[str, dict[str, Any]] = {
        "depth, last token": {},
        "depth": {"tokens": "all"},
        "self": {"kind": "self"},
        "context-input": {"kind": "context-input"},
        "context-output": {"kind": "context-output"},
    }
    blocks = 8
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(turns):
        for name, options in variants.items():
            progress(f"tokens: turn {turn + 1} of {turns}, {name}")
            jacobians = blocks * (1 if name == "depth, last token" else ids.shape[1])
            found[name].append(processor_seconds(coupling.measure, model, ids, **options) / jacobians)
    return {"tokens": ids.shape[1], "seconds_per_jacobian": {name: statistics.median(t) for name, t in found.items()}}


FIRST = """
import json, sys, time
import torch
import coupling
from coupling.models.loading import load
model = load(device="cpu").model
kind, prompts = json.load(sys.stdin)
prompts = [torch.tensor(ids) for ids in prompts]
before = time.process_time()
coupling.measure(model, prompts, kind=kind)
print(time.process_time() - before)
"""
"""Measures prompts as the first thing that a process does, as a command does; prints the seconds."""


def first_seconds(kind: str, prompts: list[Tensor]) -> float:
    """The processor time of a process's first measurement of prompts, with the bundled checkpoint."""
    request = json.dumps([kind, [ids.tolist() for ids in prompts]])
    done = subprocess.run([sys.executable, "-c", FIRST], input=request, capture_output=True, text=True, check=True)
    return float(done.stdout)


def estimates(prompts: list[Tensor], ids: Tensor) -> list[dict[str, Any]]:
    """Estimated and measured seconds of some runs of the bundled checkpoint, each in a process of its own."""
    cases: list[tuple[str, Settings, list[Tensor]]] = [
        ("one prompt", Settings(), prompts[:1]),
        ("prompts together", Settings(), prompts),
        ("all tokens, self", Settings(kind="self"), [ids]),
    ]
    rows = []
    for name, settings, inputs in cases:
        expected = estimate(None, settings, prompts=len(inputs), length=inputs[0].shape[1], device="cpu").seconds
        progress(f"estimates: {name}")
        measured = [first_seconds(settings.kind, inputs) for _ in range(3)]
        rows.append({"run": name, "estimated": expected, "measured": statistics.median(measured)})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the figures if a file is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together", description=str(__doc__).splitlines()[0])
    parser.add_argument("--prompts", type=int, default=64, help="prompts of the bundled checkpoint")
    parser.add_argument("--wide-prompts", type=int, default=8, help="prompts of GPT-2-small's shape; 0 leaves it out")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    chosen = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int, tokens: int, vocabulary: int) -> list[Tensor]:
        return [torch.randint(0, vocabulary, (1, tokens), generator=generator) for _ in range(count)]

    bundled = load(device="cpu").model
    vocabulary = int(bundled.config.vocab_size)
    prompts, (ids,) = drawn(chosen.prompts, 32, vocabulary), drawn(1, 64, vocabulary)
    figures: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "bundled": prompts_together(bundled, prompts, chosen.turns, "bundled"),
        "tokens": tokens_together(bundled, ids, chosen.turns),
        "estimates": estimates(prompts, ids),
    }
    if chosen.wide_prompts:
        wide = build(12, 768, 12, 128, "cpu")
        figures["gpt2"] = prompts_together(wide, drawn(chosen.wide_prompts, 128, VOCABULARY), chosen.turns, "GPT-2")
    print(json.dumps(figures, indent=2))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
