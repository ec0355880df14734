"""Train the bundled checkpoint: a small Llama on the Python standard library's own source.

Run it as ``python -m coupling.analyses.studies.pretrain --out FOLDER``. It is deterministic for one version of Python,
torch and the processor's instruction set. It prints the held-out loss and writes it to ``training.json``.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from coupling.analyses.studies import training
from coupling.files import environment, to_json, write_atomically
from coupling.programs import errors_in_one_line

WEIGHT_DECAY = 0.1


def pretrain(
    out: Path,
    *,
    steps: int,
    seed: int,
    layers: int,
    hidden: int,
    heads: int,
    feedforward: int,
    vocabulary: int,
    context: int,
    batch: int,
    learning_rate: float,
) -> dict[str, Any]:
    """Train, evaluate and save one checkpoint.

    Args:
        out: folder for the checkpoint.
        steps: optimizer steps.
        seed: seed of the weights and of the order of the sequences.
        layers: residual blocks.
        hidden: width of the residual stream.
        heads: attention heads.
        feedforward: width of the feed-forward layers.
        vocabulary: tokens of the tokenizer.
        context: tokens per sequence.
        batch: sequences per step.
        learning_rate: the highest learning rate.

    Returns:
        The content of ``training.json``.

    Raises:
        DivergedError: if the loss is not finite.
    """
    set_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    corpus = training.prepare_corpus(vocabulary, context)
    model = training.small_llama(
        corpus.tokenizer, layers=layers, hidden=hidden, heads=heads, feedforward=feedforward, context=context
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {corpus.train.numel():,} training tokens, {corpus.held_out.numel():,} held out")
    started = time.perf_counter()
    training.train(
        model,
        corpus.train,
        out,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        weight_decay=WEIGHT_DECAY,
        seed=seed,
    )
    seconds = time.perf_counter() - started
    # Half precision halves the size of the package; the loss below is that of the saved weights.
    saved = training.save_in_half_precision(model, corpus.tokenizer, out)
    loss, _ = training.held_out(saved, corpus.held_out)
    summary = {
        "held_out_loss_nats_per_token": round(loss, 4),
        "held_out_bits_per_byte": round(training.bits_per_byte(loss, corpus.held_out, corpus.held_out_modules), 4),
        "held_out_modules": len(corpus.held_out_modules),
        "held_out_bytes": training.text_bytes(corpus.held_out_modules),
        "training_tokens": corpus.train.numel(),
        "tokens_seen": steps * batch * context,
        "parameters": parameters,
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "seconds": round(seconds),
        "corpus": f"the standard library of Python {platform.python_version()}",
        "versions": environment("torch", "transformers"),
    }
    write_atomically(out / "training.json", to_json(summary))
    return summary


def main() -> None:
    """Parse the arguments, train, and print the summary."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--feedforward", type=int, default=352)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    with errors_in_one_line(interrupted="interrupted; the training has to begin again"):
        summary = pretrain(**vars(parser.parse_args()))
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
