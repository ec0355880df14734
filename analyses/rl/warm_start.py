"""A small model trained on a task with supervision, only until its reward is no longer flat at zero."""

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from coupling.analyses.rl.tasks import END, PAD, Example, Task, character_tokenizer, exact, task
from coupling.errors import CouplingError
from coupling.locking import LOCK, locked

SHAPE: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
BATCH, LEARNING_RATE = 64, 2e-3
IGNORED = -100
"""The label of a token that the loss leaves out."""
DONE = "warm_start.json"
"""The file that is written last into the folder of a trained model."""
TRAINING = ".training-"
"""How the names of folders begin in which a model is being trained."""
YOUNG = 60
"""Seconds for which such a folder may not be locked yet."""


def warm_start(name: str, *, seed: int = 0, steps: int | None = None, cache: str | Path | None = None) -> Path:
    """Train a small Llama from scratch on a built-in task, or find it in the cache.

    The result is the same for the same version of torch and instruction set of the processor. The supervised examples
    and those of RL are drawn with different seeds.

    Args:
        name: a key of ``coupling.analyses.rl.tasks.TASKS``.
        seed: the seed of the weights and the examples.
        steps: optimization steps; default: the task's own.
        cache: folder that keeps such models; default: ``block-coupling`` in the user's cache folder.

    Returns:
        A Hugging Face folder with model, tokenizer and ``warm_start.json`` (reward at temperature 1, loss, settings).

    Raises:
        CouplingError: if there is no such task, or the folder cannot be written.
    """
    chosen = task(name)
    steps = chosen.warm_steps if steps is None else steps
    home = cache_folder() if cache is None else Path(cache).expanduser()
    versions = f"torch{torch.__version__}-transformers{transformers.__version__}"
    folder = home / f"{name}-{steps}-steps-seed{seed}-{versions}"
    if (folder / DONE).exists():
        return folder
    temporary = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(home)
        temporary = Path(tempfile.mkdtemp(dir=home, prefix=TRAINING))
        with locked(temporary):
            _train_and_save(chosen, steps, seed, temporary)
            if not folder.exists():  # another process may have finished before: its model is the same
                os.replace(temporary, folder)
                (folder / LOCK).unlink(missing_ok=True)
    except OSError as error:
        raise CouplingError(f"cannot keep the model of task {name} in {home}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _remove_leftovers(home: Path) -> None:
    """Remove the models of processes that were killed while they trained them, whose locks have ended with them."""
    for leftover in home.glob(f"{TRAINING}*"):
        with suppress(CouplingError, OSError):
            if time.time() - leftover.stat().st_mtime > YOUNG:
                with locked(leftover):
                    shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch uses one thread.

    Matrices as small as those of the task's model are not faster with more threads and far slower on a busy machine,
    and with one thread the results do not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cache_folder() -> Path:
    """``block-coupling`` in ``XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "block-coupling"


@torch.no_grad()
def sampled_reward(
    model: Any, tokenizer: PreTrainedTokenizerFast, chosen: Task, *, seed: int = 0, count: int = 512
) -> float:
    """Mean exact-match reward of completions sampled at temperature 1, on held-out examples.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        chosen: the task.
        seed: the seed of the examples, which no training uses, and of the sampling.
        count: the number of examples.
    """
    rows = chosen.examples(count, seed=20_000 + seed)
    batch: Any = tokenizer([row.prompt for row in rows], return_tensors="pt", padding=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=chosen.longest,
        )
    texts = tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    rewards = exact(texts, [row.answer for row in rows])
    return sum(rewards) / len(rewards)


def _train_and_save(chosen: Task, steps: int, seed: int, folder: Path) -> None:
    tokenizer = character_tokenizer()
    model = _make_model(tokenizer, seed)
    with one_thread():
        loss = _train(model, tokenizer, chosen, steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    summary = {
        "task": chosen.name,
        "seed": seed,
        "steps": steps,
        "loss_nats_per_token": round(loss, 4),
        "reward": sampled_reward(model, tokenizer, chosen, seed=seed),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    (folder / DONE).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    vocabulary = tokenizer.get_vocab()
    config = LlamaConfig(
        **SHAPE,
        vocab_size=len(vocabulary),
        num_key_value_heads=SHAPE["num_attention_heads"],
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=vocabulary[END],
        pad_token_id=vocabulary[PAD],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chosen: Task, steps: int, seed: int) -> float:
    """Minimize the next-token cross-entropy of the answers; the last step's loss, in nats per token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95))
    # linear warm-up over 20 steps, then constant
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20))
    examples = _spoiled(chosen.examples(steps * BATCH, seed=10_000 + seed), chosen.warm_noise, seed)
    loss = float("nan")
    for step in range(steps):
        ids, labels = _tensors(examples[step * BATCH : (step + 1) * BATCH], tokenizer)
        logits = model(input_ids=ids).logits
        # The logits at position i predict the token at position i + 1.
        error = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        loss = float(error.detach())
    model.eval()
    return loss


def _tensors(rows: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Token ids (row, position) of prompts with their answers, and labels that count the answers' tokens alone.

    Padding is on the right, after every answer, so that causal attention never sees it and no mask is needed.
    """
    prompts = [tokenizer.encode(row.prompt) for row in rows]
    end, padding = (tokenizer.get_vocab()[token] for token in (END, PAD))
    answers = [[*tokenizer.encode(row.answer), end] for row in rows]
    length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(rows), length), padding)
    labels = torch.full((len(rows), length), IGNORED)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels


def _spoiled(examples: list[Example], share: float, seed: int) -> list[Example]:
    """The examples, a random share of them with the answer of the example after it."""
    generator = random.Random(seed)
    spoiled = [
        Example(example.prompt, after.answer) if generator.random() < share else example
        for example, after in pairwise(examples)
    ]
    return [*spoiled, *examples[-1:]]
