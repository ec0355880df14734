"""The design of the study, which was fixed before its first run: what ruins a run, what is measured, what an alarm is.

Seeds 190 to 192 served to choose the faults' sizes and the length of a run; the study does not use them.
"""

from dataclasses import asdict, dataclass
from typing import Any

from coupling.analyses.studies.lead_time.faults import LONGEST, ONSET, Fault
from coupling.analyses.studies.resumable import design_hash

TASK = "brackets"
SEEDS = (200, 201, 202)
"""Seeds of the runs with a fault, and of as many healthy ones."""
HEALTHY_SEEDS = (203, 204, 205)
"""Seeds of further healthy runs."""
STEPS = 160
EVERY = 4
"""Updates between two measurements of everything, and on each batch of rollouts."""
TRAINER: dict[str, Any] = {
    "per_device_train_batch_size": 128,
    "num_generations": 8,
    # With one update on each batch every ratio would be 1, and neither ess nor kl could ever give an alarm.
    "num_iterations": EVERY,
    "max_completion_length": LONGEST,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
    "max_steps": STEPS,
}
"""TRL's settings of every run; the objective is P3O."""
PROBES = 4
"""Prompts that coupling is measured on."""
K = 10

HEALTHY = "healthy"
FAULTS = {
    HEALTHY: Fault(),
    "rate": Fault(doubling=20),
    "stale": Fault(frozen=True),
    "temperature": Fault(temperature=3.0),
    "reward": Fault(loophole=True),
}
"""The faults by name, all from update ``ONSET`` on."""

RIVALS = ("ess", "kl", "entropy", "grad_norm", "reward")
"""Columns of the table that need no measurement of coupling; ``reward`` is the one that is trained."""
COUPLING = {
    "score": "score",
    "excess": "excess",
    **{
        name: f"coupling/{name}_k{K}"
        for name in (
            "diagonal_share",
            "aligned_energy",
            "signed_diagonal",
            "absolute_diagonal",
            "left_overlap",
            "right_overlap",
        )
    },
    "mismatch_to_initial": "mismatch_to_initial",
    "line_shape_score": "coupling/line_shape_score",
    "expodistance": "coupling/expodistance",
    "residual_growth": "coupling/residual_growth",
}
"""The measures of the model, and their columns in a run's table."""
HELD_OUT = "held_out_reward"
"""The policy's own exact-match reward on held-out prompts: what decides that a run has gone bad."""
SIGNALS = (*RIVALS, HELD_OUT, *COUPLING)
LOGARITHMIC = ("kl", "grad_norm")
"""Signals that are positive and spread over orders of magnitude, so that their logarithms are taken."""

BASELINE = (20, ONSET)
"""First and last update of the measurements whose mean and standard deviation each signal is compared with."""
IN_A_ROW = 2
"""Measurements in a row that have to be beyond the threshold, on the same side, for an alarm."""
SMOOTHED = 3
"""Measurements of the held-out reward, up to the present one, that are averaged."""
BAD = 0.85
"""A run has gone bad when its averaged held-out reward is below this share of its peak so far."""


@dataclass(frozen=True)
class Planned:
    """One planned run.

    Attributes:
        fault: a key of ``FAULTS``.
        seed: the seed of the supervised start, the data and the training.
    """

    fault: str
    seed: int

    @property
    def file(self) -> str:
        """The name of the file of its result."""
        return f"{self.fault}-seed-{self.seed}.json"

    @property
    def design(self) -> str:
        """A hash of everything that the design says about the run."""
        return design_hash(
            {
                "task": TASK,
                "every": EVERY,
                "onset": ONSET,
                "trainer": TRAINER,
                "probes": (PROBES, K),
                "fault": asdict(FAULTS[self.fault]),
                "seed": self.seed,
            }
        )


def planned() -> list[Planned]:
    """All runs, one seed after the other, each with one more healthy run, so that what is finished is balanced."""
    return [
        plan
        for seed, other in zip(SEEDS, HEALTHY_SEEDS, strict=True)
        for plan in (*(Planned(fault, seed) for fault in FAULTS), Planned(HEALTHY, other))
    ]
