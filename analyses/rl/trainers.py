"""TRL's trainer for a run: its classes, its settings, and the callbacks that measure coupling."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coupling.analyses.rl.config import TASK_MODEL, RunConfig
from coupling.analyses.rl.evaluation import PassAtK
from coupling.analyses.rl.processes import AgreedRewards, is_main_process
from coupling.analyses.rl.reward_modules import find_object
from coupling.analyses.rl.rewards import checked_reward, find_reward, overlong_penalty
from coupling.analyses.rl.trainer_settings import lora_config, trainer_settings
from coupling.choices import OWN_OBJECTIVES
from coupling.errors import CouplingError, first_line, one_line

RolloutFunc = Callable[..., Any]
"""Samples completions instead of the policy; see TRL's ``rollout_func``."""


@dataclass(frozen=True)
class TrainerSetup:
    """What the trainers of all seeds have in common.

    Attributes:
        config: the run.
        config_class: TRL's class of settings.
        trainer_class: TRL's trainer with this project's mix-ins.
        arguments: the arguments of ``config_class``, without the seed and the output folder.
        rewards: the reward functions, with their results checked.
        adapter: peft's configuration; None where all weights are trained.
        rollout_func: see ``RolloutFunc``; None for the policy's own sampling.
        tools: functions that the model may call.
        environment: what makes an environment; None for none.
    """

    config: RunConfig
    config_class: type
    trainer_class: type
    arguments: dict[str, Any]
    rewards: list[Callable[..., Any]]
    adapter: Any
    rollout_func: RolloutFunc | None
    tools: list[Callable[..., Any]]
    environment: Callable[..., Any] | None


def set_up(
    config: RunConfig,
    rollout_func: RolloutFunc | None = None,
    *,
    rewards_folder: str | Path = ".",
    trust_rewards: bool = False,
) -> TrainerSetup:
    """Check everything that a configuration asks of the trainer, before a model or data is loaded.

    Args:
        config: the run.
        rollout_func: see ``RolloutFunc``.
        rewards_folder: the folder of the configuration, in which modules of rewards are looked for first, and trusted.
        trust_rewards: import modules of rewards from anywhere.

    Raises:
        CouplingError: if a reward cannot be found, or a setting of the trainer or of adapters is wrong.
    """
    only_one = len(config.reward) == 1 and config.overlong_buffer is None
    rewards = [
        checked_reward(
            name,
            find_reward(name, folder=rewards_folder, trust=trust_rewards),
            only_one=only_one,
            seconds=config.reward_timeout,
        )
        for name in config.reward
    ]
    if config.overlong_buffer is not None:
        penalty = overlong_penalty(config.trainer.get("max_completion_length", 256), config.overlong_buffer)
        rewards.append(checked_reward("overlong", penalty, only_one=False, seconds=config.reward_timeout))

    def find(name: str, kind: str) -> Callable[..., Any]:
        return find_object(name, kind, folder=rewards_folder, trust=trust_rewards)

    config_class, trainer_class = _classes(config.objective)
    return TrainerSetup(
        config=config,
        config_class=config_class,
        trainer_class=_with_mixins(trainer_class, config.objective, own_rollouts=rollout_func is not None),
        arguments=trainer_settings(config, config_class, accelerator=torch.accelerator.is_available()),
        rewards=rewards,
        adapter=lora_config(config),
        rollout_func=rollout_func,
        tools=[find(name, "the tool") for name in config.tools or ()],
        environment=None if config.environment is None else find(config.environment, "the environment"),
    )


def generation_window(setup: TrainerSetup, folder: Path) -> int:
    """The number of optimization steps after which a generation and an optimization step next begin together.

    Usually these are the steps from one generation of rollouts to the next; they are more if a generation can begin
    inside a step.

    Raises:
        CouplingError: if TRL refuses the settings.
    """
    settings = _make_settings(setup, folder)
    micro_batches = settings.steps_per_generation * settings.num_iterations
    return micro_batches // math.gcd(micro_batches, settings.gradient_accumulation_steps)


def build_trainer(setup: TrainerSetup, seed: int, folder: Path) -> Any:
    """The trainer of one seed, with its model and data, and a probe attached that measures coupling.

    Args:
        setup: what ``set_up`` returned.
        seed: the seed.
        folder: where TRL saves.

    Raises:
        CouplingError: if the model or the data cannot be loaded, or TRL refuses the settings.
    """
    from transformers import PrinterCallback, set_seed

    from coupling.analyses.rl.data import read_rows
    from coupling.analyses.rl.evaluation import evaluation_rows
    from coupling.analyses.rl.initial import check_initial_weights, initial_model

    logging.getLogger("trl").setLevel(logging.ERROR)
    config = setup.config
    settings = _make_settings(setup, folder, seed=seed)
    with settings.main_process_first():  # the other processes then find in the caches what the main one wrote
        rows, held_out = read_rows(config.data, seed), evaluation_rows(config)
        model = initial_model(config, seed)
        if config.model != TASK_MODEL:
            check_initial_weights(model, dict(settings.model_init_kwargs or {}))
    set_seed(seed)  # TRL sets it only after the weights of an adapter are drawn
    try:
        trainer = setup.trainer_class(
            model=model,
            reward_funcs=setup.rewards,
            args=settings,
            train_dataset=rows,
            eval_dataset=held_out,
            peft_config=setup.adapter,
            rollout_func=setup.rollout_func,
            tools=setup.tools or None,
            environment_factory=setup.environment,
        )
    except CouplingError:
        raise
    except Exception as error:  # TRL, transformers, trackers and peft each refuse settings in their own way
        raise CouplingError(f"cannot set up RL of {_named(config.model)}: {one_line(error)}") from error
    trainer.evaluation = config.evaluation
    trainer.remove_callback(PrinterCallback)
    if config.probe.every:
        _attach_probe(trainer, config, rows)
    return trainer


def _named(model: str) -> str:
    """A model as the configuration names it."""
    return "the built-in task's model" if model == TASK_MODEL else model


def unseen_truncation(setup: TrainerSetup, folder: Path) -> str:
    """What to say where rollouts are truncated, and the sampler gives no log-probabilities of its own; else empty.

    Raises:
        CouplingError: if TRL refuses the settings.
    """
    from coupling.rl.truncation import truncation, unseen_warning

    settings = _make_settings(setup, folder)
    changed = truncation(settings)
    is_seen = setup.rollout_func is not None or settings.use_vllm
    return unseen_warning(changed) if changed and not is_seen else ""


def measure_initial(trainer: Any) -> None:
    """Measure the initial policy in a run that is resumed, before the checkpoint's weights replace it."""
    from coupling.rl import CouplingCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, CouplingCallback) and is_main_process():
            callback.measure(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class)


def _classes(objective: str) -> tuple[type, type]:
    """The classes of settings and trainer for an objective."""
    try:
        if objective in OWN_OBJECTIVES:
            from coupling.rl import P3OConfig, P3OTrainer, P4OTrainer

            return P3OConfig, P3OTrainer if objective == "p3o" else P4OTrainer
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer

        return GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise CouplingError(f"the trl package cannot be imported: {first_line(error)}") from None


def _with_mixins(trainer_class: type, objective: str, *, own_rollouts: bool) -> type:
    """The trainer with this project's mix-ins; P3O's trainers log the statistics of the ratio by themselves."""
    mixins: tuple[type, ...] = (PassAtK, AgreedRewards)
    if objective not in OWN_OBJECTIVES:
        from coupling.rl.ess_logging import EssLogging, RatioToBehavior

        mixins += (RatioToBehavior, EssLogging) if own_rollouts else (EssLogging,)
    return type(f"Checked{trainer_class.__name__}", (*mixins, trainer_class), {})


def _make_settings(setup: TrainerSetup, folder: Path, **others: Any) -> Any:
    """TRL's settings object of a run that TRL saves in a folder.

    Raises:
        CouplingError: with the message of the library that refuses them.
    """
    arguments = setup.arguments | {"output_dir": str(folder)} | others
    if setup.config.objective not in OWN_OBJECTIVES:
        arguments |= {"loss_type": setup.config.objective}
    try:
        return setup.config_class(**arguments)
    except CouplingError:
        raise
    except Exception as error:  # TRL, transformers, accelerate and DeepSpeed each check in their own way
        raise CouplingError(f"the trainer settings are refused: {one_line(error, most=1000)}") from error


def _attach_probe(trainer: Any, config: RunConfig, rows: Any) -> None:
    from coupling.analyses.rl.data import probe_texts
    from coupling.rl import CouplingCallback

    probe = config.probe
    CouplingCallback(probe_texts(probe, rows), every=probe.every, k=probe.k).attach(trainer)
