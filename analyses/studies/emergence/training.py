"""Train one small language model and keep its checkpoints at steps on a logarithmic scale; it can be continued."""

import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback, set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from coupling.analyses.studies import training
from coupling.files import load_json, to_json, write_atomically

LAYERS, HIDDEN, HEADS, FEEDFORWARD = 6, 64, 4, 168
VOCABULARY, CONTEXT, BATCH, LEARNING_RATE = 1024, 128, 8, 3e-3
STEPS = (0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768)
"""The steps whose checkpoints are kept; the last is the length of the training."""
SEEDS, WEIGHT_DECAYS = (0, 1, 2), (0.0, 0.1)
HELD_OUT_EVERY = 4
"""Every fourth held-out sequence is enough to tell how well a checkpoint predicts."""
LOSSES = "losses.json"
"""The file in a member's folder that is written last: the held-out loss of every checkpoint."""
RESUMABLE = ("trainer_state.json", "optimizer.pt", "scheduler.pt")
"""The files of a checkpoint that the Trainer can continue from."""


@dataclass(frozen=True)
class Member:
    """One training: its weight decay and its seed."""

    weight_decay: float
    seed: int

    @property
    def model(self) -> str:
        """The name that the seeds of one weight decay share."""
        return f"decay-{self.weight_decay:g}"

    @property
    def name(self) -> str:
        """The name of the member's folder."""
        return f"{self.model}-seed{self.seed}"


def members() -> list[Member]:
    """All trainings, one seed after the other, so that an unfinished study has whole seeds."""
    return [Member(weight_decay, seed) for seed in SEEDS for weight_decay in WEIGHT_DECAYS]


def checkpoint(folder: Path, step: int) -> Path:
    """The folder of the checkpoint of a step inside a member's folder."""
    return folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def train_member(member: Member, folder: Path, steps: tuple[int, ...] = STEPS) -> dict[int, float]:
    """Train a member, or continue its training where it was stopped; nothing is done where it is finished.

    Args:
        member: the training.
        folder: the member's folder; it then contains one checkpoint per step.
        steps: the steps whose checkpoints are kept, from 0 to the length of the training.

    Returns:
        The held-out loss of every checkpoint, in nats per token.

    Raises:
        DivergedError: if the loss is not finite.
    """
    if (folder / LOSSES).exists():
        return {int(step): loss for step, loss in load_json(folder / LOSSES).items()}
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    corpus = _corpus()
    resume_from = _last_checkpoint(folder, steps)
    set_seed(member.seed)
    model = training.small_llama(
        corpus.tokenizer, layers=LAYERS, hidden=HIDDEN, heads=HEADS, feedforward=FEEDFORWARD, context=CONTEXT
    )
    training.train(
        model,
        corpus.train,
        folder,
        steps=steps[-1],
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=member.weight_decay,
        seed=member.seed,
        quiet=True,
        callbacks=[_KeepCheckpoints(steps, corpus.tokenizer)],
        resume_from=resume_from,
    )
    losses = {}
    for step in steps:
        kept = LlamaForCausalLM.from_pretrained(checkpoint(folder, step), dtype=torch.float32)
        losses[step], _ = training.held_out(kept, corpus.held_out[::HELD_OUT_EVERY])
        for name in RESUMABLE[1:]:  # two thirds of the folder, which nothing needs any more
            (checkpoint(folder, step) / name).unlink(missing_ok=True)
    write_atomically(folder / LOSSES, to_json({str(step): loss for step, loss in losses.items()}))
    return losses


class _KeepCheckpoints(TrainerCallback):
    """Asks the Trainer for a checkpoint at the given steps, and adds the tokenizer to each."""

    def __init__(self, steps: tuple[int, ...], tokenizer: PreTrainedTokenizerFast) -> None:
        self.steps, self.tokenizer = steps, tokenizer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the initial weights, which the Trainer does not."""
        if state.global_step == 0 and 0 in self.steps:
            folder = checkpoint(Path(args.output_dir), 0)
            kwargs["model"].save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save at the given steps."""
        control.should_save = state.global_step in self.steps

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the tokenizer."""
        self.tokenizer.save_pretrained(checkpoint(Path(args.output_dir), state.global_step))


@lru_cache(maxsize=1)
def _corpus() -> training.Corpus:
    """The corpus, prepared once per process."""
    return training.prepare_corpus(VOCABULARY, CONTEXT)


def _last_checkpoint(folder: Path, steps: tuple[int, ...]) -> Path | None:
    """The last complete checkpoint that a training can continue from; what came after it is removed."""
    for step in reversed(steps):
        path = checkpoint(folder, step)
        is_complete = all((path / name).exists() for name in RESUMABLE)
        if is_complete and _is_json(path / RESUMABLE[0]):
            return path
        shutil.rmtree(path, ignore_errors=True)
    return None


def _is_json(path: Path) -> bool:
    """Whether a file was written completely; the Trainer writes its state last."""
    try:
        return bool(load_json(path))
    except ValueError:
        return False
