"""The demonstration of RL: a small model closes brackets, and gets better at it on a CPU within minutes."""

from dataclasses import replace

from coupling.analyses.rl.config import ProbeConfig, RunConfig, from_mapping

OBJECTIVE = "p3o"
SEEDS = 3
STEPS = 120


def demo_config(
    objective: str | None = None, *, task: str = "brackets", seed: int = 0, probe: ProbeConfig | None = None
) -> RunConfig:
    """The demonstration's configuration.

    Args:
        objective: one of ``coupling.choices.OBJECTIVES``; default: ``OBJECTIVE``.
        task: a built-in task.
        seed: the seed of the first run.
        probe: default: eight prompts of the task, ten times through the run.

    Raises:
        CouplingError: if there is no such objective.

    Example:
        >>> demo_config("grpo", seed=4).seed
        4
    """
    content = {
        "model": "task",
        "objective": objective or OBJECTIVE,
        "data": {"task": task},
        "reward": "exact",
        "seed": seed,
        "trainer": {
            "max_steps": STEPS,
            "per_device_train_batch_size": 128,
            "num_generations": 8,
            # Two updates on each batch of rollouts: the second is off-policy, so that ess falls below 1.
            "num_iterations": 2,
            "max_completion_length": 6,
            "learning_rate": 3e-4,
            "lr_scheduler_type": "constant_with_warmup",
            "warmup_steps": STEPS // 5,
        },
    }
    config = from_mapping(content, "the demonstration")
    return replace(config, probe=probe or ProbeConfig(every=STEPS // 10, k=(10,), count=8))
