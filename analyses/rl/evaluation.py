"""Evaluations in an RL run: several completions of each held-out prompt, and pass@k."""

import math
from typing import Any

import torch

from coupling.analyses.rl.config import DataConfig, EvaluationConfig, RunConfig
from coupling.analyses.rl.data import read_rows

HELD_OUT_SEED = 30_000
"""The seed of a task's held-out examples, which no run trains with."""
COMPLETIONS = 256
"""Completions of a batch of the evaluation, at most, unless one prompt has more."""


def pass_at_k(n: int, solved: int, k: int) -> float:
    """The unbiased estimate of the chance that at least one of k completions solves a prompt.

    ``1 - C(n - c, k) / C(n, k)``, where c of n completions solved it.

    Args:
        n: completions that were sampled.
        solved: how many of them solved the prompt.
        k: at most n.

    Source: Chen et al., *Evaluating Large Language Models Trained on Code*, 2021 (arXiv 2107.03374).

    Example:
        >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 4), pass_at_k(4, 2, 2)
        (0.25, 1.0, 0.8333333333333334)
    """
    return 1 - math.comb(n - solved, k) / math.comb(n, k)


def evaluation_rows(config: RunConfig) -> Any:
    """The held-out prompts of a run; None where it evaluates nothing.

    Raises:
        CouplingError: if the data cannot be read.
    """
    if config.evaluation is None:
        return None
    if config.evaluation.data is not None:
        return read_rows(config.evaluation.data)
    task = DataConfig(task=config.data.task, chat=config.data.chat, limit=config.evaluation.count)
    return read_rows(task, HELD_OUT_SEED)


def evaluation_settings(evaluation: EvaluationConfig | None) -> dict[str, Any]:
    """The settings of TRL's trainer for a run's evaluations."""
    if evaluation is None:
        return {}
    prompts = max(1, min(evaluation.count, COMPLETIONS // evaluation.samples))
    return {
        "do_eval": True,
        "eval_strategy": "steps",
        "eval_steps": evaluation.every,
        "eval_on_start": True,
        "num_generations_eval": evaluation.samples,
        "per_device_eval_batch_size": prompts * evaluation.samples,
    }


class PassAtK:
    """Mix-in for TRL's trainers: evaluations log pass@k, and training goes on as it would without them.

    Every evaluation samples with the same random numbers. TRL logs the means over prompts as ``eval_pass@1`` and so on,
    beside ``eval_reward``.

    Attributes:
        evaluation: the run's settings; None where it evaluates nothing.
    """

    evaluation: EvaluationConfig | None = None

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, with random numbers of its own."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(HELD_OUT_SEED)
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's: (completion, function) over all processes, the completions of one prompt after the other."""
        rewards = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        if self.evaluation is not None and not self.model.training:  # type: ignore[attr-defined]
            n = self.evaluation.samples
            solved = (rewards[:, 0].reshape(-1, n) >= self.evaluation.solved).sum(dim=1).tolist()
            for k in self.evaluation.k:
                values = [pass_at_k(n, count, k) for count in solved]
                self._metrics["eval"][f"pass@{k}"].extend(values)  # type: ignore[attr-defined]
        return rewards
