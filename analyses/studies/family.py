"""Does coupling go with quality in models of our own? Train a family, score it, measure it, correlate.

Run it as ``python -m coupling.analyses.studies.family --out FOLDER``: 24 small Llamas on the Python standard library's
source, eight shapes with three trainings each, which differ in steps, weight decay and the share of the data (nearly
an orthogonal array, so that no two of the three go together). Every member is scored on modules it was not trained
on and on the benchmark of ``code_benchmark``; coupling is measured on the bundled prompts; then ``correlate`` runs.
Stopped, it goes on where it was: a finished member is kept. Deterministic for one version of Python, torch and the
processor's instruction set.
"""

import argparse
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from coupling.analyses.correlation.small_models import MEMBER, RESULT, TABLE, collect
from coupling.analyses.studies.corpus import Module, standard_library
from coupling.errors import CouplingError

SHAPES = ((2, 64), (4, 32), (4, 64), (4, 96), (6, 48), (6, 96), (8, 64), (12, 48))
"""Blocks and width."""

STEPS, WEIGHT_DECAYS, DATA_SHARES = (300, 800, 2000), (0.0, 0.1, 1.0), (1.0, 0.25, 0.05)
CONTEXT, BATCH, LEARNING_RATE, VOCABULARY, HEAD_DIM = 128, 8, 3e-3, 1024, 16
K = (5, 10)


@dataclass(frozen=True)
class Member:
    """One model of the family: its shape, and how it is trained."""

    layers: int
    hidden: int
    steps: int
    weight_decay: float
    data_share: float
    seed: int

    @property
    def shape(self) -> str:
        """Its family within the family: models of one shape."""
        return f"L{self.layers}-d{self.hidden}"

    @property
    def name(self) -> str:
        """Shape and steps name a member."""
        return f"{self.shape}-s{self.steps}"

    @property
    def cost(self) -> float:
        """Multiplications of training, up to a factor."""
        return self.steps * (12 * self.layers * self.hidden**2 + VOCABULARY * self.hidden)


def members(step_share: float = 1.0) -> list[Member]:
    """The 24 members, dearest first; ``step_share`` shortens every training, for a quick look."""
    family = [
        Member(layers, hidden, max(1, round(steps * step_share)), WEIGHT_DECAYS[(shape + recipe) % 3],
               DATA_SHARES[(shape + 2 * recipe) % 3], 3 * shape + recipe)
        for shape, (layers, hidden) in enumerate(SHAPES)
        for recipe, steps in enumerate(STEPS)
    ]  # fmt: skip
    return sorted(family, key=lambda member: -member.cost)


@lru_cache(maxsize=1)
def _corpus() -> tuple[Any, Any, Any, list[Module]]:
    """Tokenizer, training sequences, held-out sequences, held-out modules; made once a process."""
    from coupling.analyses.studies import training

    modules = standard_library()
    train = [module for module in modules if not module.held_out]
    held_out = [module for module in modules if module.held_out]
    tokenizer = training.train_tokenizer([module.text for module in train], VOCABULARY, CONTEXT)
    sequences, evaluation = (training.pack(tokenizer, some, CONTEXT) for some in (train, held_out))
    return tokenizer, sequences, evaluation, held_out


def make_member(member: Member, out: Path, device: str = "cpu") -> dict[str, Any]:
    """Train, score and measure one member, unless that was done before.

    Args:
        member: what to train.
        out: the family's folder; the member's is inside it.
        device: "cpu", or "auto" for an accelerator if there is one.

    Returns:
        What ``member.json`` holds: the member's settings, benchmark scores and seconds. The run is beside it.

    Raises:
        CouplingError: if the folder holds a member of the same name that was trained in another way.
    """
    folder = out / member.name
    record = folder / MEMBER
    if record.exists():
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if known["member"] != asdict(member):
            raise CouplingError(f"{folder} holds a member trained in another way; give another --out")
        return known

    import torch
    from transformers import LlamaForCausalLM, set_seed
    from transformers.utils import logging

    import coupling
    from coupling.analyses.studies import training
    from coupling.analyses.studies.code_benchmark import make_items, score_items
    from coupling.files import write_atomically

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    tokenizer, sequences, evaluation, held_out = _corpus()
    set_seed(member.seed)
    kept = torch.randperm(len(sequences))[: max(BATCH, round(member.data_share * len(sequences)))]
    model = training.small_llama(
        tokenizer, layers=member.layers, hidden=member.hidden, heads=member.hidden // HEAD_DIM,
        feedforward=8 * member.hidden // 3 // 8 * 8, context=CONTEXT,
    )  # fmt: skip
    training.train(
        model, sequences[kept.sort().values], folder, steps=member.steps, batch=BATCH, learning_rate=LEARNING_RATE,
        weight_decay=member.weight_decay, seed=member.seed, cpu=device == "cpu", quiet=True,
    )  # fmt: skip
    checkpoint = folder / "model"
    model.half().save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    trained = time.perf_counter()
    saved = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).to(model.device)
    loss, accuracy = training.held_out(saved, evaluation)
    tasks = score_items(saved, tokenizer, make_items(held_out))
    scored = time.perf_counter()
    coupling.analyze(str(checkpoint), k=K, out=folder / "run", resume=True, device=device)
    known = {
        "member": asdict(member),
        "parameters": sum(p.numel() for p in saved.parameters()),
        "scores": {
            "bits per byte": training.bits_per_byte(loss, evaluation, held_out),
            "next-token accuracy": accuracy,
            **tasks,
            "exact match": sum(tasks.values()) / len(tasks),
        },
        "seconds": {
            "train": round(trained - started, 1), "score": round(scored - trained, 1),
            "measure": round(time.perf_counter() - scored, 1),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip
    write_atomically(record, (json.dumps(known, indent=2) + "\n").encode())
    return known


def make_family(family: list[Member], out: Path, workers: int = 2, device: str = "cpu") -> None:
    """Make every member, so many at a time, one thread each; a line of progress on stderr for each.

    Args:
        family: what ``members`` returned.
        out: the family's folder.
        workers: processes side by side.
        device: as in ``make_member``.
    """
    out.mkdir(parents=True, exist_ok=True)
    # One thread each: the same bits on any number of cores, and two models at once use two cores better than one.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                   "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # fmt: skip
    started, all_cost = time.perf_counter(), sum(member.cost for member in family)
    before = sum(member.cost for member in family if (out / member.name / MEMBER).exists())
    done_cost = 0.0
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_quietly_at_interrupt) as pool:
        futures = {pool.submit(make_member, member, out, device): member for member in family}
        try:
            for count, future in enumerate(as_completed(futures), 1):
                member, known = futures[future], future.result()
                done_cost += member.cost
                new = max(done_cost - before, 0.0)
                left = (time.perf_counter() - started) * (all_cost - before - new) / new if new else None
                print(
                    f"[{count:2d}/{len(family)}] {member.name:<13} {known['scores']['bits per byte']:.3f} bits a byte, "
                    f"exact match {known['scores']['exact match']:.1%}, "
                    f"{sum(known['seconds'].values()):.0f} s"
                    + ("" if left is None else f"; about {left / 60:.0f} min left"),
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _end_quietly_at_interrupt() -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def main() -> None:
    """Make the members that are not made yet; then the table, and what correlates in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for models, runs and the table")
    parser.add_argument("--workers", type=int, default=2, help="models trained side by side")
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu")
    parser.add_argument("--step-share", type=float, default=1.0, help="shorten every training, for a quick look")
    arguments = parser.parse_args()
    family = members(arguments.step_share)
    try:
        make_family(family, arguments.out, arguments.workers, arguments.device)
        collect([member.name for member in family], arguments.out)
    except (KeyboardInterrupt, BrokenProcessPool):
        print("interrupted; finished members are kept, go on with the same command", file=sys.stderr)
        sys.exit(130)
    except CouplingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{arguments.out / TABLE} holds the table, {arguments.out / RESULT} what correlates in it")


if __name__ == "__main__":
    main()
