"""Train the bundled checkpoint: a small Llama on the Python standard library's own source.

Run it as ``python -m coupling.analyses.studies.pretrain --out FOLDER``. It is deterministic for one version of Python,
torch and the processor's instruction set; the held-out loss that it prints is also written to ``training.json``.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import torch
import transformers
from transformers import LlamaForCausalLM, set_seed

from coupling.analyses.studies import training
from coupling.analyses.studies.corpus import standard_library


def pretrain(out: Path, *, steps: int, seed: int, layers: int, hidden: int, heads: int, feedforward: int,
             vocabulary: int, context: int, batch: int, learning_rate: float) -> dict:  # fmt: skip
    """Train, evaluate and save one checkpoint; return what ``training.json`` holds."""
    set_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    modules = standard_library()
    train = [module for module in modules if not module.held_out]
    held_out = [module for module in modules if module.held_out]
    tokenizer = training.train_tokenizer([module.text for module in train], vocabulary, context)
    sequences, evaluation = training.pack(tokenizer, train, context), training.pack(tokenizer, held_out, context)
    model = training.small_llama(
        tokenizer, layers=layers, hidden=hidden, heads=heads, feedforward=feedforward, context=context
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {sequences.numel():,} training tokens, {evaluation.numel():,} held out")
    started = time.perf_counter()
    training.train(
        model, sequences, out, steps=steps, batch=batch, learning_rate=learning_rate, weight_decay=0.1, seed=seed
    )
    seconds = time.perf_counter() - started
    model.half().save_pretrained(out)  # half the size; the loss below is that of the saved weights
    tokenizer.save_pretrained(out)
    saved = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
    loss, _ = training.held_out(saved, evaluation)
    summary = {
        "held_out_loss_nats_per_token": round(loss, 4),
        "held_out_bits_per_byte": round(training.bits_per_byte(loss, evaluation, held_out), 4),
        "held_out_modules": len(held_out),
        "held_out_bytes": training.text_bytes(held_out),
        "training_tokens": sequences.numel(),
        "tokens_seen": steps * batch * context,
        "parameters": parameters,
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "seconds": round(seconds),
        "corpus": f"the standard library of Python {platform.python_version()}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (out / "training.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def main() -> None:
    """Parse the arguments, train, and print the held-out loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    summary = pretrain(**vars(parser.parse_args()))
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
