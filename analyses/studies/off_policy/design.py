"""The design of the study, which was fixed before its first run: what is compared, on what, and for how long."""

from dataclasses import asdict, dataclass, field
from typing import Any

from coupling.analyses.studies.resumable import design_hash

TASK = "brackets"
SEEDS = (100, 101, 102, 103, 104)
"""Seeds that no earlier experiment of this project used."""
STEPS = 300
EVERY = 10
"""Updates between two measurements of the policy's own reward on held-out prompts."""
PROBE_EVERY = 30
"""Updates between two measurements of coupling."""
FROM = 60
"""The update from which the area under the held-out reward counts; earlier studies ended there, on a plateau."""
TRAINER: dict[str, Any] = {
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 4,
    "num_generations": 8,
    "max_completion_length": 6,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
}
"""TRL's settings of every run: 128 completions per update in four micro-batches, so that the two scopes differ."""


@dataclass(frozen=True)
class Condition:
    """How rollouts come about.

    Attributes:
        rollouts: the arguments of ``BehaviorPolicy``.
        trainer: changes to ``TRAINER``.
    """

    rollouts: dict[str, Any]
    trainer: dict[str, Any] = field(default_factory=dict)


CONDITIONS = {
    # Four updates on each batch: with one, every ratio is 1, and all five objectives are the same.
    "T 1.2 as 1": Condition({"temperature": 1.2, "reported_temperature": 1.0}, {"num_iterations": 4}),
    "4 bits": Condition({"bits": 4}),
    "lag 0 to 4": Condition({"age": (0, 4)}),
    "16 old": Condition({"age": 16}),
}
"""The conditions by name."""


@dataclass(frozen=True)
class Objective:
    """An objective with its settings.

    Attributes:
        name: in tables and pictures.
        objective: that of ``coupling rl``.
        trainer: its settings of the trainer.
    """

    name: str
    objective: str
    trainer: dict[str, Any] = field(default_factory=dict)


OBJECTIVES = (
    Objective("P3O, batch", "p3o", {"ess_scope": "batch"}),
    Objective("P3O, micro", "p3o", {"ess_scope": "micro"}),
    Objective("P3O, weighted KL", "p3o", {"ess_scope": "batch", "kl_estimator": "weighted"}),
    Objective("DAPO 0.2", "dapo", {"epsilon": 0.2}),
    Objective("DAPO 0.4", "dapo", {"epsilon": 0.4}),
)
"""All normalize their loss by the number of tokens of the update."""


@dataclass(frozen=True)
class Planned:
    """One planned run: an objective in a condition with a seed.

    Attributes:
        condition: a key of ``CONDITIONS``.
        objective: one of ``OBJECTIVES``.
        seed: one of ``SEEDS``.
        steps: the number of updates.
    """

    condition: str
    objective: Objective
    seed: int
    steps: int = STEPS

    @property
    def file(self) -> str:
        """The name of the file of its result."""
        words = f"{self.condition} {self.objective.name} seed {self.seed}".lower().replace(",", "")
        return "-".join(words.split()) + ".json"

    @property
    def design(self) -> str:
        """A hash of everything that the design says about the run; a result of another design does not count."""
        content = {
            "task": TASK,
            "steps": self.steps,
            "every": (EVERY, PROBE_EVERY),
            "trainer": TRAINER,
            "condition": asdict(CONDITIONS[self.condition]),
            "objective": asdict(self.objective),
            "seed": self.seed,
        }
        return design_hash(content)


def planned(steps: int = STEPS) -> list[Planned]:
    """All runs, one seed after the other, so that what is finished is balanced at any time."""
    return [
        Planned(condition, objective, seed, steps)
        for seed in SEEDS
        for condition in CONDITIONS
        for objective in OBJECTIVES
    ]
