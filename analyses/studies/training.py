"""How the project trains and evaluates its own small language models: tokenizer, packing, Trainer, held-out loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from coupling.analyses.studies.corpus import Module, standard_library
from coupling.errors import DivergedError

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Corpus:
    """The corpus as token ids.

    Attributes:
        tokenizer: trained on the training modules.
        train: packed training modules, (sequences, context).
        held_out: packed held-out modules, (sequences, context).
        held_out_modules: the text of the held-out modules.
    """

    tokenizer: PreTrainedTokenizerFast
    train: Int[Tensor, "sequences context"]
    held_out: Int[Tensor, "sequences context"]
    held_out_modules: list[Module]


def prepare_corpus(vocabulary: int, context: int) -> Corpus:
    """Read the standard library, train a tokenizer on its training part, and pack both parts."""
    modules = standard_library()
    train = [module for module in modules if not module.held_out]
    held_out = [module for module in modules if module.held_out]
    tokenizer = train_tokenizer([module.text for module in train], vocabulary, context)
    return Corpus(tokenizer, pack(tokenizer, train, context), pack(tokenizer, held_out, context), held_out)


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


def pack(tokenizer: PreTrainedTokenizerFast, modules: list[Module], context: int) -> Int[Tensor, "sequences context"]:
    """Join the modules, with an end-of-text token after each, and cut them into sequences of token ids."""
    ids: list[int] = []
    for module in modules:
        ids += [*tokenizer.encode(module.text, add_special_tokens=False, truncation=False), tokenizer.eos_token_id]
    rows = len(ids) // context
    return torch.tensor(ids[: rows * context]).view(rows, context)


def small_llama(
    tokenizer: PreTrainedTokenizerFast, *, layers: int, hidden: int, heads: int, feedforward: int, context: int
) -> LlamaForCausalLM:
    """A Llama with random weights for a tokenizer; its input and output embeddings are tied."""
    special: dict[str, Any] = {
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=feedforward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        **special,
    )
    return LlamaForCausalLM(config)


class _FiniteLoss(TrainerCallback):
    """Stops a run that diverged, so that it is not saved."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise DivergedError(f"the run diverged: the loss is {logs['loss']} at step {state.global_step}")


def train(
    model: LlamaForCausalLM,
    sequences: Int[Tensor, "sequences context"],
    out: Path,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    cpu: bool = True,
    quiet: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    resume_from: Path | None = None,
) -> None:
    """Train in place: AdamW, linear warm-up over a twentieth of the steps, then cosine decay.

    Nothing is saved, unless a callback asks for it.

    Args:
        model: the model; it is moved to the device that it is trained on.
        sequences: token ids, (sequences, context).
        out: the Trainer's folder.
        steps: optimizer steps.
        batch: sequences per step.
        learning_rate: the highest learning rate.
        weight_decay: AdamW's decoupled weight decay.
        seed: seed of the order of the sequences.
        cpu: train on the CPU even if there is an accelerator.
        quiet: print nothing.
        callbacks: further callbacks of the Trainer.
        resume_from: a checkpoint of the Trainer that the training continues.

    Raises:
        DivergedError: if the loss is not finite.
    """
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            weight_decay=weight_decay,
            adam_beta2=0.95,
            logging_steps=max(1, steps // 40),
            logging_nan_inf_filter=False,  # otherwise the loss of a run that diverged is logged as finite
            save_strategy="no",
            report_to="none",
            seed=seed,
            use_cpu=cpu,
            disable_tqdm=quiet,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in sequences],
        callbacks=[_FiniteLoss(), *callbacks],
    )
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))


def save_in_half_precision(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> LlamaForCausalLM:
    """Save a model as float16 with its tokenizer.

    Returns:
        The saved weights as float32, on the same device; they differ from the model's by the rounding.
    """
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    saved = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.nn.Module.to(saved, model.device)  # transformers wraps the method `to`, and type checkers lose its arguments
    return saved


@torch.no_grad()
def held_out(
    model: LlamaForCausalLM, sequences: Int[Tensor, "sequences context"], batch: int = 16
) -> tuple[float, float]:
    """Mean next-token cross-entropy in nats per token, and the share of tokens whose most likely guess was right.

    Args:
        model: a model on any device.
        sequences: token ids, (sequences, context).
        batch: sequences per forward pass.
    """
    model.eval()
    loss, right = 0.0, 0
    for rows in sequences.to(model.device).split(batch):
        output = model(input_ids=rows, labels=rows)
        loss += float(output.loss) * len(rows)
        right += int((output.logits[:, :-1].argmax(-1) == rows[:, 1:]).sum())
    return loss / len(sequences), right / (len(sequences) * (sequences.shape[1] - 1))


def bits_per_byte(loss: float, sequences: Int[Tensor, "sequences context"], modules: list[Module]) -> float:
    """Convert a loss in nats per token to bits per byte of the modules' UTF-8 text.

    Args:
        loss: the loss in nats per token.
        sequences: what ``pack`` made of the modules.
        modules: the text that the loss was measured on.
    """
    return loss * sequences.numel() / text_bytes(modules) / math.log(2)


def text_bytes(modules: list[Module]) -> int:
    """The length of the modules' text in bytes of UTF-8."""
    return len("".join(module.text for module in modules).encode())
