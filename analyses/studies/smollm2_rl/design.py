"""The design of the study, which was fixed before its first run: SmolLM2 with LoRA learns to add two-digit numbers.

Four updates with seed 90 served to measure the time of one, and thereby to choose their number; the study does not use
that seed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from coupling.analyses.studies.off_policy.design import OBJECTIVES, Objective
from coupling.analyses.studies.resumable import design_hash

SEEDS = (200, 201)
STEPS = 24
EVERY = 4
"""Updates on each batch of rollouts, and between two measurements of the held-out prompts."""
SAMPLED_AT = 1.2
"""The temperature of the sampler, which reports log-probabilities at 1: what is closest to the authors' code."""
EXAMPLES = "35 + 14 = 49\n"
"""What each prompt begins with, so that the model answers with a number at all."""
HELD_OUT = 48
"""The number of held-out prompts."""
PROBES = 2
"""Prompts that coupling is measured on, before the first update and after the last one."""
TRAINER: dict[str, Any] = {
    "per_device_train_batch_size": 32,
    "num_generations": 4,
    "num_iterations": EVERY,
    "max_completion_length": 4,  # a space, at most three digits, and so at least one token more for most sums
    "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "save_strategy": "steps",
    "save_steps": EVERY,
    "save_total_limit": 1,
}
"""TRL's settings of every run."""
LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
"""Settings of peft's adapters."""
COMPARED = tuple(objective for objective in OBJECTIVES if objective.name in ("P3O, batch", "DAPO 0.2"))
"""The objectives, with the settings that they have in the study of the small model."""


@dataclass(frozen=True)
class Planned:
    """One planned run.

    Attributes:
        objective: one of ``COMPARED``.
        seed: the seed of the prompts, the sampling and the adapter.
        steps: the number of updates.
    """

    objective: Objective
    seed: int
    steps: int = STEPS

    @property
    def file(self) -> str:
        """The name of the file of its result."""
        return "-".join(f"{self.objective.name} seed {self.seed}".lower().replace(",", "").split()) + ".json"

    @property
    def design(self) -> str:
        """A hash of everything that the design says about the run."""
        return design_hash(
            {
                "steps": self.steps,
                "every": EVERY,
                "sampled_at": SAMPLED_AT,
                "examples": EXAMPLES,
                "measured": (HELD_OUT, PROBES),
                "trainer": TRAINER,
                "lora": LORA,
                "objective": asdict(self.objective),
                "seed": self.seed,
            }
        )


def planned(steps: int = STEPS) -> list[Planned]:
    """All runs, one seed after the other."""
    return [Planned(objective, seed, steps) for seed in SEEDS for objective in COMPARED]
