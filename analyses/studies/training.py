"""How the project's own small language models are trained and judged: tokenizer, packing, Trainer, held-out loss."""

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from coupling.analyses.studies.corpus import Module

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


def small_llama(
    tokenizer: PreTrainedTokenizerFast, *, layers: int, hidden: int, heads: int, feedforward: int, context: int
) -> LlamaForCausalLM:
    """A Llama with random weights for a tokenizer, its input and output embeddings tied."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=feedforward, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=context,
        tie_word_embeddings=True, bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class _FiniteLoss(TrainerCallback):
    """Stop a diverged run instead of saving it."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise SystemExit(f"the loss is {logs['loss']} at step {state.global_step}: the run diverged")


def train(
    model: LlamaForCausalLM, sequences: torch.Tensor, out: Path, *, steps: int, batch: int, learning_rate: float,
    weight_decay: float, seed: int, cpu: bool = True, quiet: bool = False,
) -> None:  # fmt: skip
    """Train in place: AdamW, linear warm-up over a twentieth of the steps, then cosine decay; nothing is saved.

    Args:
        model: moved to the device that it is trained on.
        sequences: (sequences, context) token ids.
        out: the Trainer's folder.
        steps: optimizer steps.
        batch: sequences a step.
        learning_rate: the highest.
        weight_decay: AdamW's, decoupled.
        seed: of the order of the sequences.
        cpu: leave an accelerator alone.
        quiet: print nothing.
    """
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch, learning_rate=learning_rate,
            lr_scheduler_type="cosine", warmup_steps=max(1, steps // 20), weight_decay=weight_decay, adam_beta2=0.95,
            logging_steps=max(1, steps // 40), save_strategy="no", report_to="none", seed=seed, use_cpu=cpu,
            disable_tqdm=quiet,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in sequences],
        callbacks=[_FiniteLoss()],
    )  # fmt: skip
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train()


@torch.no_grad()
def held_out(model: LlamaForCausalLM, sequences: torch.Tensor, batch: int = 16) -> tuple[float, float]:
    """Mean next-token cross-entropy in nats a token, and the share of tokens whose most likely guess was right.

    Args:
        model: on any device.
        sequences: (sequences, context) token ids.
        batch: sequences a forward pass.
    """
    model.eval()
    loss, right = 0.0, 0
    for rows in sequences.to(model.device).split(batch):
        output = model(input_ids=rows, labels=rows)
        loss += float(output.loss) * len(rows)
        right += int((output.logits[:, :-1].argmax(-1) == rows[:, 1:]).sum())
    return loss / len(sequences), right / (len(sequences) * (sequences.shape[1] - 1))


def bits_per_byte(loss: float, sequences: torch.Tensor, modules: list[Module]) -> float:
    """A loss in nats a token as bits a byte of the modules' UTF-8 text.

    Args:
        loss: nats a token.
        sequences: what ``pack`` made of the modules.
        modules: the text that the loss was measured on.
    """
    return loss * sequences.numel() / text_bytes(modules) / math.log(2)


def text_bytes(modules: list[Module]) -> int:
    """The length of the modules' text in bytes of UTF-8."""
    return len("".join(module.text for module in modules).encode())
