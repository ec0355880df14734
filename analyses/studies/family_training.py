"""Train one member of the family, score it on benchmarks, and measure its coupling."""

import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, set_seed
from transformers.utils import logging

import coupling
from coupling.analyses.studies import training
from coupling.analyses.studies.code_benchmark import make_items, score_items
from coupling.analyses.studies.family_members import MEMBER, VOCABULARY, Member
from coupling.errors import CouplingError
from coupling.files import environment, load_json, to_json, write_atomically
from coupling.shares import K

CONTEXT, BATCH, LEARNING_RATE, WEIGHT_DECAY, HEAD_DIM = 128, 8, 3e-3, 0.1, 16
KS: tuple[K, ...] = (5, 10, "10%")


def make_member(member: Member, out: Path, device: str = "cpu") -> dict[str, Any]:
    """Train, score and measure one member, unless it is already finished.

    Args:
        member: the member to make.
        out: the family's folder; the member's folder is inside it.
        device: "cpu", or "auto" for an accelerator if there is one.

    Returns:
        The content of ``member.json``: the member's settings, benchmark scores and seconds. The run is beside it.

    Raises:
        CouplingError: if the folder contains a member of the same name that was trained in another way, or the
            training diverged.
    """
    folder = out / member.name
    finished = _finished(member, folder)
    if finished is not None:
        return finished
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    started = time.perf_counter()
    corpus = _corpus()
    model = _train(member, corpus, folder, device)
    trained = time.perf_counter()
    scores = _score(model, corpus)
    scored = time.perf_counter()
    coupling.analyze(str(folder / "model"), k=KS, out=folder / "run", resume=True, device=device, baselines=True)
    measured = time.perf_counter()

    record = {
        "member": asdict(member),
        "parameters": sum(p.numel() for p in model.parameters()),
        "scores": scores,
        "seconds": {
            "train": round(trained - started, 1),
            "score": round(scored - trained, 1),
            "measure": round(measured - scored, 1),
        },
        "versions": environment("torch"),
    }
    write_atomically(folder / MEMBER, to_json(record))
    return record


def _finished(member: Member, folder: Path) -> dict[str, Any] | None:
    """The record of a member that is finished; None for one that is not."""
    if not (folder / MEMBER).exists():
        return None
    record = load_json(folder / MEMBER)
    if record["member"] != asdict(member):
        raise CouplingError(f"{folder} contains a member that was trained in another way; choose another folder")
    return record


@lru_cache(maxsize=1)
def _corpus() -> training.Corpus:
    """The corpus, prepared once per process."""
    return training.prepare_corpus(VOCABULARY, CONTEXT)


def _train(member: Member, corpus: training.Corpus, folder: Path, device: str) -> LlamaForCausalLM:
    """Train a member on its share of the sequences and save it; the saved weights."""
    set_seed(member.seed)
    n_sequences = max(BATCH, round(member.data_share * len(corpus.train)))
    kept = torch.randperm(len(corpus.train))[:n_sequences].sort().values
    model = training.small_llama(
        corpus.tokenizer,
        layers=member.layers,
        hidden=member.hidden,
        heads=member.hidden // HEAD_DIM,
        feedforward=8 * member.hidden // 3 // 8 * 8,  # 8/3 of the width, as Llama has it, in multiples of 8
        context=CONTEXT,
    )
    training.train(
        model,
        corpus.train[kept],
        folder,
        steps=member.steps,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        seed=member.seed,
        cpu=device == "cpu",
        quiet=True,
    )
    return training.save_in_half_precision(model, corpus.tokenizer, folder / "model")


def _score(model: LlamaForCausalLM, corpus: training.Corpus) -> dict[str, float]:
    """The benchmark scores of a member, on the modules that it was not trained on."""
    loss, accuracy = training.held_out(model, corpus.held_out)
    tasks = score_items(model, corpus.tokenizer, make_items(corpus.held_out_modules))
    return {
        "bits per byte": training.bits_per_byte(loss, corpus.held_out, corpus.held_out_modules),
        "next-token accuracy": accuracy,
        **tasks,
        "exact match": sum(tasks.values()) / len(tasks),
    }
