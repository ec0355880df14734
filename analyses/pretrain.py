"""Train the bundled checkpoint: a small Llama on the Python standard library's own source.

Run it as ``python -m coupling.analyses.pretrain --out FOLDER``. It is deterministic for one version of Python,
torch and the processor's instruction set; the held-out loss that it prints is also written to ``training.json``.
"""

import argparse
import json
import math
import platform
import time
from pathlib import Path

import torch
import transformers
from coupling.analyses.corpus import Module, standard_library
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts: list[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT, model_max_length=context
    )


def pack(tokenizer: PreTrainedTokenizerFast, modules: list[Module], context: int) -> torch.Tensor:
    """Join the modules, an end-of-text token after each, and cut them into (sequences, context) token ids."""
    ids: list[int] = []
    for module in modules:
        ids += [*tokenizer.encode(module.text, add_special_tokens=False, truncation=False), tokenizer.eos_token_id]
    rows = len(ids) // context
    return torch.tensor(ids[: rows * context]).view(rows, context)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, sequences: torch.Tensor, batch: int = 16) -> float:
    """Mean next-token cross-entropy in nats a token."""
    model.eval()
    losses = [float(model(input_ids=rows, labels=rows).loss) * len(rows) for rows in sequences.split(batch)]
    return sum(losses) / len(sequences)


class _FiniteLoss(TrainerCallback):
    """Stop a diverged run instead of saving it."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise SystemExit(f"the loss is {logs['loss']} at step {state.global_step}: the run diverged")


def pretrain(out: Path, *, steps: int, seed: int, layers: int, hidden: int, heads: int, feedforward: int,
             vocabulary: int, context: int, batch: int, learning_rate: float) -> dict:  # fmt: skip
    """Train, evaluate and save one checkpoint; return what ``training.json`` holds."""
    set_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    modules = standard_library()
    train = [module for module in modules if not module.held_out]
    held_out = [module for module in modules if module.held_out]
    tokenizer = train_tokenizer([module.text for module in train], vocabulary, context)
    sequences, evaluation = pack(tokenizer, train, context), pack(tokenizer, held_out, context)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=feedforward, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=context,
        tie_word_embeddings=True, bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {sequences.numel():,} training tokens, {evaluation.numel():,} held out")
    started = time.perf_counter()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch, learning_rate=learning_rate,
            lr_scheduler_type="cosine", warmup_steps=max(1, steps // 20), weight_decay=0.1, adam_beta2=0.95,
            logging_steps=max(1, steps // 40), save_strategy="no", report_to="none", seed=seed, use_cpu=True,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in sequences],
        callbacks=[_FiniteLoss()],
    )  # fmt: skip
    trainer.train()
    seconds = time.perf_counter() - started
    model.half().save_pretrained(out)  # half the size; the loss below is that of the saved weights
    tokenizer.save_pretrained(out)
    saved = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
    loss = held_out_loss(saved, evaluation)
    held_out_bytes = len("".join(module.text for module in held_out).encode())
    summary = {
        "held_out_loss_nats_per_token": round(loss, 4),
        "held_out_bits_per_byte": round(loss * evaluation.numel() / held_out_bytes / math.log(2), 4),
        "held_out_modules": len(held_out),
        "held_out_bytes": held_out_bytes,
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
