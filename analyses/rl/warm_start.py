"""A small model trained on a task with supervision, only until its reward is no longer flat at zero."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from coupling.analyses.rl.tasks import Example, Task, character_tokenizer, exact, task
from coupling.errors import CouplingError

SHAPE: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
BATCH, LEARNING_RATE = 64, 2e-3
DONE = "warm_start.json"


def warm_start(
    name: str, *, seed: int = 0, steps: int | None = None, cache: str | Path | None = None
) -> Path:  # fmt: skip
    """Train a small Llama from scratch on a built-in task, or find it where it was kept.

    Deterministic for one version of torch and the processor's instruction set. The supervised examples and those of
    RL are drawn from different seeds.

    Args:
        name: a key of ``coupling.analyses.rl.tasks.TASKS``.
        seed: of the weights and the examples.
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
        temporary = Path(tempfile.mkdtemp(dir=home, prefix=".training-"))
        with one_thread():
            model, tokenizer, loss = _train(chosen, steps, seed)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        summary = {"task": name, "seed": seed, "steps": steps, "loss_nats_per_token": round(loss, 4),
                   "reward": sampled_reward(model, tokenizer, chosen, seed=seed),
                   "parameters": sum(p.numel() for p in model.parameters())}  # fmt: skip
        (temporary / DONE).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if not folder.exists():  # another process may have been first: the same settings gave it the same model
            os.replace(temporary, folder)
    except OSError as error:
        raise CouplingError(f"cannot keep the model of task {name} in {home}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Such small matrices are no faster on more threads, far slower on a busy machine, and the same on all with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cache_folder() -> Path:
    """``block-coupling`` in ``XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "block-coupling"


def _train(chosen: Task, steps: int, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, float]:
    """Next-token cross-entropy on the answers alone; the last loss is in nats a token."""
    tokenizer = character_tokenizer()
    config = LlamaConfig(
        **SHAPE, vocab_size=len(tokenizer), num_key_value_heads=SHAPE["num_attention_heads"],
        max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20))
    examples = chosen.examples(steps * BATCH, seed=10_000 + seed)
    _spoil(examples, chosen.warm_noise, seed)
    loss = float("nan")
    for step in range(steps):
        rows = examples[step * BATCH : (step + 1) * BATCH]
        prompts = [tokenizer.encode(row.prompt) for row in rows]
        answers = [[*tokenizer.encode(row.answer), tokenizer.eos_token_id] for row in rows]
        length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
        ids = torch.full((BATCH, length), tokenizer.pad_token_id)
        labels = torch.full((BATCH, length), -100)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        # Padding is on the right and later than every answer, so causal attention never sees it.
        error = cross_entropy(model(input_ids=ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        loss = float(error.detach())
    return model.eval(), tokenizer, loss


def _spoil(examples: list[Example], share: float, seed: int) -> None:
    """Give a share of the examples, in place, the answer of the example after."""
    generator = random.Random(seed)
    for index, example in enumerate(examples[:-1]):
        if generator.random() < share:
            examples[index] = Example(example.prompt, examples[index + 1].answer)


@torch.no_grad()
def sampled_reward(
    model: Any, tokenizer: PreTrainedTokenizerFast, chosen: Task, *, seed: int = 0, count: int = 512
) -> float:
    """Mean exact-match reward of completions sampled at temperature 1, on examples of their own seed."""
    rows = chosen.examples(count, seed=20_000 + seed)
    batch: Any = tokenizer([row.prompt for row in rows], return_tensors="pt", padding=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=True, temperature=1.0,
            top_k=0, top_p=1.0, max_new_tokens=chosen.longest,
        )  # fmt: skip
    texts = tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    rewards = exact(texts, [row.answer for row in rows])
    return sum(rewards) / len(rewards)
